"""One POST to a service of others: no redirect is followed, no URL is logged, and all of it takes a bounded time.

By httpcore, on which httpx stands: see kpi_kit.bounded_network. Not by kpi_kit.http: the callers have queues that try
again, and much later.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import zip_longest

import httpcore
import httpx

from kpi_kit.addresses import Address
from kpi_kit.bounded_network import BoundedNetwork
from kpi_kit.destinations import Destination, Destinations, GoneError, UnavailableDestinationError
from kpi_kit.quiet import quiet

# What is read of a body: enough for a reason, and for the service to finish.
_MOST_BODY = 16 * 1024
_BODY_SECONDS = 1.0
_MOST_ADDRESSES = 4
_GONE = 410
# The first event of httpcore's "trace" after the connection, with its TLS.
_CONNECTED = "http11.send_request_headers.started"
# With OSError for TLS: httpcore passes ssl.SSLError on.
_FAULTS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError)


@dataclass(frozen=True)
class PostResponse:
    """``body`` is its beginning: what came soon after the status."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        return httpx.codes.is_success(self.status)

    @property
    def status_text(self) -> str:
        """The status, for people: "404 Not Found"."""
        if httpx.codes.is_redirect(self.status):
            return f"{self.status}: redirects are not followed"
        return f"{self.status} {httpx.codes.get_reason_phrase(self.status)}".strip()


class Poster:
    """One connection for each request, and httpcore's alone: a client of httpx keeps cookies, which would go to another
    receiver at the same address, and a connection that is kept may have the response of another message on it.

    ``seconds`` is the time of an attempt, the look-up of the host included.
    """

    def __init__(self, destinations: Destinations, *, seconds: float, user_agent: str = "kpi-kit") -> None:
        self._destinations = destinations
        self._seconds = seconds
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity", "Connection": "close"}
        self._context: ssl.SSLContext | None = None

    def _build_context(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    async def load(self) -> ssl.SSLContext:
        """Load the certificates before the first attempt: that takes tens of milliseconds, and so has a thread."""
        if self._context is None:
            self._context = await asyncio.to_thread(self._build_context)
        return self._context

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> PostResponse:
        """RefusedDestinationError, or UnavailableDestinationError if there is no response in time."""
        until = asyncio.get_running_loop().time() + self._seconds
        destination = await self._destinations.find(url, seconds=self._seconds)
        requests = [self._build(destination, address, content, headers) for address in _choose(destination.addresses)]
        try:
            with quiet():
                return await self._try_each(requests, until)
        except TimeoutError:
            raise UnavailableDestinationError(f"no response within {self._seconds:g} seconds") from None
        except httpcore.ConnectTimeout:
            raise UnavailableDestinationError("no connection in time") from None
        except _FAULTS as error:
            reason = f"the request failed: {type(error).__name__}"
            raise UnavailableDestinationError(reason, _describe(error)) from None

    def _build(
        self, destination: Destination, address: Address, content: bytes, headers: Mapping[str, str]
    ) -> httpcore.Request:
        url = destination.url
        target = httpcore.URL(scheme=url.raw_scheme, host=str(address), port=url.port, target=url.raw_path)
        own = {"Host": url.netloc.decode(), "Content-Length": str(len(content)), **self._headers}
        fields = list({**own, **headers}.items())
        # The certificate must be that of the host, whatever its address.
        extensions = {"sni_hostname": destination.host}
        return httpcore.Request("POST", target, headers=fields, content=content, extensions=extensions)

    async def _try_each(self, requests: Sequence[httpcore.Request], until: float) -> PostResponse:
        """A further address is tried only where no connection could be made, and has its part of the time left."""
        *others, last = requests
        for left, request in zip(range(len(requests), 1, -1), others, strict=True):
            now = asyncio.get_running_loop().time()
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._exchange(request, connected_by=now + (until - now) / left, until=until)
        return await self._exchange(last, connected_by=until, until=until)

    async def _exchange(self, request: httpcore.Request, *, connected_by: float, until: float) -> PostResponse:
        context = await self.load()
        is_connected = False

        async def trace(event: str, _facts: object) -> None:
            nonlocal is_connected
            if event == _CONNECTED:
                is_connected = True
                limit.reschedule(until)

        request.extensions["trace"] = trace
        connection = httpcore.AsyncHTTPConnection(request.url.origin, context, network_backend=BoundedNetwork())
        async with connection:
            try:
                async with asyncio.timeout_at(connected_by) as limit:
                    response = await connection.handle_async_request(request)
            except TimeoutError:
                raise TimeoutError if is_connected else httpcore.ConnectTimeout from None
            async with aclosing(response):
                return PostResponse(response.status, await _read_some(response, until))


class WebhookSender(Poster):
    """Sends events to receivers that others have named. The host is resolved and checked anew for each event."""

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Return once the receiver has accepted the JSON in ``body``.

        RefusedDestinationError, GoneError for 410, UnavailableDestinationError for any other failure: Standard Webhooks
        1.0 wants attempts over days after any other status, since receivers have faults, too.
        """
        response = await self.post(url, content=body, headers={"Content-Type": "application/json", **headers})
        if response.status == _GONE:
            raise GoneError("410 Gone: the receiver accepts no further events")
        if not response.is_success:
            raise UnavailableDestinationError(f"the receiver responded {response.status_text}", response.status_text)


def _choose(addresses: Sequence[Address]) -> list[Address]:
    """Of IPv4 and IPv6 in turn, the family of the first address first: the other may be the one that is reached."""
    first = [each for each in addresses if each.version == addresses[0].version]
    others = [each for each in addresses if each.version != addresses[0].version]
    turns = [each for turn in zip_longest(first, others) for each in turn if each is not None]
    return turns[:_MOST_ADDRESSES]


async def _read_some(response: httpcore.Response, until: float) -> bytes:
    """What comes in time: the status says whether the message was accepted, and it must not be sent again for more."""
    body = b""
    end = min(until, asyncio.get_running_loop().time() + _BODY_SECONDS)
    with suppress(*_FAULTS):
        async with asyncio.timeout_at(end):
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) >= _MOST_BODY:
                    break
    return body[:_MOST_BODY]


def _describe(error: Exception) -> str:
    """Nothing of what the service sent: what it says could be what an address inside says."""
    name = type(error).__name__
    if isinstance(error, httpcore.RemoteProtocolError):
        return f"{name}: the response is not complete, or not HTTP"
    is_plain = isinstance(error, (httpcore.NetworkError, OSError)) and str(error)
    return f"{name}: {error}" if is_plain else name
