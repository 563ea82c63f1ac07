"""The upstream client on aiohttp: connection pools, timeouts, and what its errors mean to a caller."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import partial
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from kpi_gateway.settings import GatewaySettings
from kpi_gateway.upstream import (
    UpstreamAnswer,
    UpstreamBusyError,
    UpstreamError,
    UpstreamRequest,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)

# Shorter than uvicorn's 65 s on the other side, so that the gateway is the one to end an idle connection and
# a request is hardly ever sent into one that is just being closed.
_LONGEST_KEEP_ALIVE = 30.0
_DNS_SECONDS = 10
_MAX_HEADER_BYTES = 64 * 1024
# aiohttp would add these where the client sent none.
_NO_AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
# What a server may end a request with: not 1xx, nor a number that no protocol has given a meaning.
_FINAL = range(200, 600)


class AiohttpClient:
    """Sends requests while it is entered; each upstream has its own bounded share of requests in flight."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession
        self._places: defaultdict[str, asyncio.Semaphore] = defaultdict(
            partial(asyncio.Semaphore, settings.upstream_connections)
        )

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._session = aiohttp.ClientSession(
            # The places bound the connections; a limit here too would make both waits look like a slow connect.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_keep_alive(settings), ttl_dns_cache=_DNS_SECONDS
            ),
            # One client's cookies must never be sent with another client's request.
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NO_AUTOMATIC_HEADERS,
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=settings.upstream_connect_timeout,
                sock_read=settings.upstream_read_timeout,
            ),
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        place = await self._take_place(request.url)
        try:
            response = await self._session.request(
                request.method,
                # Already encoded: yarl would decode and encode the escapes in its own way.
                URL(request.url + request.target, encoded=True),
                headers=request.headers,
                data=_sendable(request),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            place.release()
            raise _explained(error) from error
        except BaseException:
            place.release()
            raise
        if response.status not in _FINAL:
            response.close()
            place.release()
            raise UpstreamError(f"It answered with the status {response.status}")
        return UpstreamAnswer(response.status, response.raw_headers, _chunks(response), _closer(response, place))

    async def _take_place(self, url: str) -> asyncio.Semaphore:
        place = self._places[url]
        if not place.locked():
            await place.acquire()
            return place
        try:
            async with asyncio.timeout(self._settings.upstream_queue_timeout):
                await place.acquire()
        except TimeoutError:
            raise UpstreamBusyError(retry_after=1) from None
        return place


class _StreamOnce(aiohttp.AsyncIterablePayload):
    """A body that arrives while it is sent, so that it cannot be sent again."""

    @property
    def consumed(self) -> bool:
        # aiohttp repeats a request of an idempotent method when its connection breaks. With a body that
        # would send what is left of it, and call that the whole.
        return True


class _BytesOnce(aiohttp.BytesPayload):
    """A body that is sent once: a PUT may have been carried out although its answer was lost."""

    @property
    def consumed(self) -> bool:
        return True


def _sendable(request: UpstreamRequest) -> aiohttp.Payload | None:
    body = request.body
    if body is None:
        return None
    return _StreamOnce(body) if isinstance(body, AsyncIterable) else _BytesOnce(body)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise _explained(error) from error


def _closer(response: aiohttp.ClientResponse, place: asyncio.Semaphore) -> Callable[[], None]:
    def close() -> None:
        # At the body's end aiohttp has given the connection back already, and this does nothing to it.
        response.close()
        place.release()

    return close


def _explained(error: Exception) -> UpstreamError:
    if isinstance(error, TimeoutError):
        return UpstreamTimeoutError()
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamUnreachableError()
    return UpstreamError()


def _keep_alive(settings: GatewaySettings) -> float:
    """How long an idle connection is kept, in seconds: less than the read timeout.

    aiohttp (3.14) may start that timer anew on a connection that it has just put back, when the last of a large
    answer is drained; when it runs out there, the next request on the connection fails at once, through no fault of
    its own.
    """
    return min(_LONGEST_KEEP_ALIVE, settings.upstream_read_timeout / 2)
