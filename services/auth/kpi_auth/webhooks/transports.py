"""Send one event to its receiver: one connection, to an address that was checked, within a bounded time."""

import asyncio
import ssl
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

import httpx
from kpi_shared.addresses import Address

from kpi_auth import __version__
from kpi_auth.webhooks.destinations import Destination, Destinations
from kpi_auth.webhooks.errors import RefusedDestinationError

_MAX_REASON = 300
# A response needs no body: what is read of it only lets the receiver finish.
_MOST_BODY = 16 * 1024
_BODY_SECONDS = 1.0
_MOST_ADDRESSES = 3
_GONE = 410


class Timeouts(NamedTuple):
    """In seconds: for a connection, and for all of an attempt, the look-up of the host included."""

    connect: float = 5.0
    total: float = 10.0


class NotDeliveredError(Exception):
    """``reason`` is for admins. ``is_refusal``: the receiver says that it wants no further events."""

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        words = "".join(character if character.isprintable() else " " for character in reason)
        self.reason = words[:_MAX_REASON]
        self.is_refusal = is_refusal
        super().__init__(self.reason)


class HttpTransport:
    """No connection is kept: the host is resolved and checked anew for each event, and no certificate is of another."""

    def __init__(self, destinations: Destinations, timeouts: Timeouts | None = None) -> None:
        self._destinations = destinations
        self._timeouts = timeouts or Timeouts()

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        # Loading the certificates takes some time, which installations without webhooks save.
        return httpx.AsyncClient(
            verify=self._build_context(),
            # No proxy of the environment: it would resolve the host once more.
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            # All of an attempt has one bound, in ``send``.
            timeout=httpx.Timeout(None, connect=self._timeouts.connect),
        )

    def _build_context(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    async def send(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        """Return once the receiver has accepted the event; NotDeliveredError otherwise."""
        seconds = self._timeouts.total
        try:
            async with asyncio.timeout(seconds):
                destination = await self._destinations.find(url, seconds=seconds)
                status = await self._post(destination, body, headers)
        except RefusedDestinationError as error:
            raise NotDeliveredError(str(error)) from error
        except TimeoutError as error:
            raise NotDeliveredError(f"No response within {seconds:g} seconds") from error
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise NotDeliveredError(_describe(error)) from error
        _check_status(status)

    async def close(self) -> None:
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def _post(self, destination: Destination, body: bytes, headers: dict[str, str]) -> int:
        """The status. A further address is tried only where no connection could be made."""
        *others, last = destination.addresses[:_MOST_ADDRESSES]
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._post_to(destination, address, body, headers)
        return await self._post_to(destination, last, body, headers)

    async def _post_to(self, destination: Destination, address: Address, body: bytes, headers: dict[str, str]) -> int:
        url = destination.url
        request = self._client.build_request(
            "POST",
            url.copy_with(host=str(address)),
            content=body,
            headers={
                "Host": url.netloc.decode(),
                "User-Agent": f"KPI-One-Webhooks/{__version__}",
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",
                "Connection": "close",
                **headers,
            },
            # The certificate must be that of the host, whatever its address.
            extensions={"sni_hostname": destination.host},
        )
        response = await self._client.send(request, stream=True)
        try:
            await _read_some(response)
        finally:
            await response.aclose()
        return response.status_code


async def _read_some(response: httpx.Response) -> None:
    with suppress(httpx.HTTPError, httpx.StreamError, TimeoutError):
        async with asyncio.timeout(_BODY_SECONDS):
            size = 0
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size > _MOST_BODY:
                    return


def _check_status(status: int) -> None:
    if httpx.codes.is_success(status):
        return
    if status == _GONE:
        raise NotDeliveredError("410 Gone: the receiver wants no further events", is_refusal=True)
    if httpx.codes.is_redirect(status):
        raise NotDeliveredError(f"{status}: redirects are not followed")
    raise NotDeliveredError(f"{status} {httpx.codes.get_reason_phrase(status)}".strip())


def _describe(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "No connection in time"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
