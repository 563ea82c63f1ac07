"""One POST to a service of others: no redirect is followed, no URL is logged, and all of it takes a bounded time.

By httpx, and not by kpi_kit.http: who sends has a queue that tries again, and does so much later.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import httpx

from kpi_kit.destinations import Destination, Destinations, GoneError, UnavailableDestinationError
from kpi_kit.quiet import quiet

# What is read of a body: enough for a reason, and for the service to finish.
_MOST_BODY = 16 * 1024
_BODY_SECONDS = 1.0
_MOST_ADDRESSES = 3
_GONE = 410


@dataclass(frozen=True)
class PostResponse:
    """``body`` is its beginning: what came soon after the status."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        return httpx.codes.is_success(self.status)

    @property
    def words(self) -> str:
        """The status, for people: "404 Not Found"."""
        if httpx.codes.is_redirect(self.status):
            return f"{self.status}: redirects are not followed"
        return f"{self.status} {httpx.codes.get_reason_phrase(self.status)}".strip()


class Poster:
    """httpx's transport alone: a client keeps cookies, which would go to another receiver at the same address.

    Half of ``seconds``, the time of an attempt, is the most that a connection may take, so that there is some left for
    a further address.
    """

    def __init__(self, *, seconds: float, user_agent: str = "kpi-kit", keeps_connections: bool = True) -> None:
        self._seconds = seconds
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        if not keeps_connections:
            self._headers["Connection"] = "close"
        self._limits = httpx.Limits(max_connections=100, max_keepalive_connections=10 if keeps_connections else 0)

    @cached_property
    def _transport(self) -> httpx.AsyncHTTPTransport:
        # When something is sent: loading the certificates takes a while.
        # No proxy of the environment is used: it would resolve the host once more.
        return httpx.AsyncHTTPTransport(verify=self._build_context(), trust_env=False, limits=self._limits)

    def _build_context(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    def load(self) -> None:
        """Load the certificates now, and not in the first attempt: that takes some of its time."""
        _ = self._transport

    async def close(self) -> None:
        if "_transport" in self.__dict__:
            await self._transport.aclose()

    def find_end(self) -> float:
        """The time of the event loop at which an attempt that begins now has taken too long."""
        return asyncio.get_running_loop().time() + self._seconds

    async def post(self, url: httpx.URL, *, content: bytes, headers: Mapping[str, str]) -> PostResponse:
        """To a service whose URL the operator has written; UnavailableDestinationError without a response in time."""
        return await self._send([self._build(url, content, headers)], self.find_end())

    async def post_to(
        self, destination: Destination, *, content: bytes, headers: Mapping[str, str], until: float
    ) -> PostResponse:
        """To an address that was checked; UnavailableDestinationError if there is no response ``until`` then."""
        url = destination.url
        requests = [
            self._build(
                url.copy_with(host=str(address)),
                content,
                {"Host": url.netloc.decode(), **headers},
                # The certificate must be that of the host, whatever its address.
                sni_hostname=destination.host,
            )
            for address in destination.addresses[:_MOST_ADDRESSES]
        ]
        return await self._send(requests, until)

    def _build(self, url: httpx.URL, content: bytes, headers: Mapping[str, str], **extensions: object) -> httpx.Request:
        fields = {**self._headers, **headers}
        timeouts = {"connect": self._seconds / 2}
        return httpx.Request(
            "POST", url, content=content, headers=fields, extensions={"timeout": timeouts, **extensions}
        )

    async def _send(self, requests: Sequence[httpx.Request], until: float) -> PostResponse:
        try:
            with quiet():
                return await self._try_each(requests, until)
        except TimeoutError:
            raise UnavailableDestinationError(f"no response within {self._seconds:g} seconds") from None
        except httpx.ConnectTimeout:
            raise UnavailableDestinationError("no connection in time") from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            reason = f"the request failed: {type(error).__name__}"
            raise UnavailableDestinationError(reason, _describe(error)) from None

    async def _try_each(self, requests: Sequence[httpx.Request], until: float) -> PostResponse:
        """A further address is tried only where no connection could be made."""
        *others, last = requests
        for request in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._exchange(request, until)
        return await self._exchange(last, until)

    async def _exchange(self, request: httpx.Request, until: float) -> PostResponse:
        async with asyncio.timeout_at(until):
            response = await self._transport.handle_async_request(request)
        try:
            return PostResponse(response.status_code, await _read_some(response, until))
        finally:
            await response.aclose()


class WebhookSender:
    """Sends events to receivers that others have named. No connection is kept.

    So the host is resolved and checked anew for each event, and no connection is used for another name.
    """

    def __init__(self, destinations: Destinations, *, seconds: float, user_agent: str = "kpi-kit") -> None:
        self._destinations = destinations
        self._seconds = seconds
        self._poster = Poster(seconds=seconds, user_agent=user_agent, keeps_connections=False)

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Return once the receiver has accepted the JSON in ``body``, within ``seconds``, the look-up included.

        RefusedDestinationError, GoneError for 410, UnavailableDestinationError for any other failure: Standard Webhooks
        1.0 wants attempts over days after any other status, since receivers have faults, too.
        """
        until = self._poster.find_end()
        destination = await self._destinations.find(url, seconds=self._seconds)
        fields = {"Content-Type": "application/json", **headers}
        response = await self._poster.post_to(destination, content=body, headers=fields, until=until)
        if response.status == _GONE:
            raise GoneError("410 Gone: the receiver wants no further events")
        if not response.is_success:
            raise UnavailableDestinationError(f"the receiver responded {response.words}", response.words)

    def load(self) -> None:
        """As of a Poster."""
        self._poster.load()

    async def close(self) -> None:
        await self._poster.close()


async def _read_some(response: httpx.Response, until: float) -> bytes:
    """What comes in time: the status says whether the message was accepted, and it must not be sent again for more."""
    body = b""
    end = min(until, asyncio.get_running_loop().time() + _BODY_SECONDS)
    with suppress(httpx.HTTPError, httpx.StreamError, TimeoutError):
        async with asyncio.timeout_at(end):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= _MOST_BODY:
                    break
    return body[:_MOST_BODY]


def _describe(error: Exception) -> str:
    """Nothing of what the service sent: what it says could be what an address inside says."""
    name = type(error).__name__
    if isinstance(error, httpx.RemoteProtocolError):
        return f"{name}: the response is not complete, or not HTTP"
    is_plain = isinstance(error, (httpx.NetworkError, OSError)) and str(error)
    return f"{name}: {error}" if is_plain else name
