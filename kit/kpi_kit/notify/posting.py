"""One POST to a service of others: no redirect is followed, no URL is logged, and all of it takes a bounded time."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import httpx

from kpi_kit.notify.errors import ChannelUnavailableError, DeliveryRefusedError
from kpi_kit.notify.quiet import quiet

# What is read of a response: enough for a reason, and for the service to finish.
_MOST_BODY = 16 * 1024
# 408 Request Timeout, 425 Too Early and 429 Too Many Requests may pass, as the errors of servers do.
_MAY_PASS = {408, 425, 429}
_FIRST_SERVER_ERROR = 500
_HEADERS = {"User-Agent": "kpi-kit", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class Poster:
    """httpx, and not the client of kpi_kit.http: the job of a delivery tries again, and does so much later.

    Its transport alone: a client keeps cookies, which would go to another receiver at the same address.
    """

    def __init__(self, seconds: float, *, keeps_connections: bool = True) -> None:
        self._seconds = seconds
        self._limits = httpx.Limits(max_connections=100, max_keepalive_connections=10 if keeps_connections else 0)
        self._transport: httpx.AsyncHTTPTransport | None = None

    async def open(self) -> None:
        # No proxy of the environment: it would resolve the host once more.
        self._transport = httpx.AsyncHTTPTransport(trust_env=False, limits=self._limits)

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def find_end(self) -> float:
        """The time at which an attempt that begins now has taken too long."""
        return asyncio.get_running_loop().time() + self._seconds

    async def post(
        self,
        url: httpx.URL,
        *,
        content: bytes,
        headers: Mapping[str, str],
        server_name: str | None = None,
        until: float | None = None,
    ) -> Answer:
        """The response; ChannelUnavailableError if there is none ``until`` then, in the time of the event loop.

        ``server_name`` is the one that the certificate must be for, where the URL has an address in its place.
        """
        if self._transport is None:
            raise ChannelUnavailableError("the channel is not open")
        extensions = {"sni_hostname": server_name} if server_name else {}
        request = httpx.Request("POST", url, content=content, headers={**_HEADERS, **headers}, extensions=extensions)
        try:
            with quiet():
                # All of an attempt has one bound.
                return await _exchange(self._transport, request, until or self.find_end())
        except TimeoutError:
            raise ChannelUnavailableError(f"no response within {self._seconds:g} seconds") from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            # Its text may quote the URL.
            raise ChannelUnavailableError(f"the request failed: {type(error).__name__}") from None


async def _exchange(transport: httpx.AsyncHTTPTransport, request: httpx.Request, until: float) -> Answer:
    async with asyncio.timeout_at(until):
        response = await transport.handle_async_request(request)
    try:
        return Answer(response.status_code, await _read_some(response, until))
    finally:
        await response.aclose()


async def _read_some(response: httpx.Response, until: float) -> bytes:
    """What comes in time: the status says whether the message was accepted, and it must not be sent again for more."""
    body = b""
    with suppress(httpx.HTTPError, httpx.StreamError, TimeoutError):
        async with asyncio.timeout_at(until):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= _MOST_BODY:
                    break
    return body[:_MOST_BODY]


def check_answer(answer: Answer, *, reason: str = "") -> None:
    """DeliveryRefusedError or ChannelUnavailableError, unless the status is one of success."""
    if httpx.codes.is_success(answer.status):
        return
    words = f"{answer.status} {httpx.codes.get_reason_phrase(answer.status)}".strip()
    words = f"{words} ({reason})" if reason else words
    if answer.status in _MAY_PASS or answer.status >= _FIRST_SERVER_ERROR:
        raise ChannelUnavailableError(f"the service responded {words}")
    if httpx.codes.is_redirect(answer.status):
        words += ", and redirects are not followed"
    raise DeliveryRefusedError(f"the service responded {words}")
