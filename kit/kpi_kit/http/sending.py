"""Everything between a call and the driver: the deadline, the repetitions, the circuit and the redirects."""

import asyncio
import random
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import quote, urljoin, urlsplit

from kpi_kit.errors import AlreadyOpenError, NotOpenError
from kpi_kit.http.circuit import Circuit, CircuitState
from kpi_kit.http.contract import Transport
from kpi_kit.http.errors import (
    ConnectionFailedError,
    HttpError,
    HttpTimeoutError,
    NoFreeConnectionError,
    RedirectError,
    StatusError,
    UnavailableStatusError,
)
from kpi_kit.http.limits import Limits
from kpi_kit.http.messages import Request, Response
from kpi_kit.http.places import PATH, find_origin
from kpi_kit.http.retry_after import read_retry_after

_UNAVAILABLE = frozenset(
    {
        # With it, servers end connections that are idle (RFC 9110, section 15.5.9), and ours do at a stop (ADR 59).
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
# Of these the next attempt may succeed.
_TEMPORARY = (ConnectionFailedError, HttpTimeoutError, NoFreeConnectionError, UnavailableStatusError)
_MOVED = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 3


class Sender:
    """Sends to one origin. A client and all that are made from it by ``with_...`` share one, and so its circuit."""

    def __init__(self, transport: Transport, *, origin: str, limits: Limits) -> None:
        self.transport = transport
        self.origin = origin
        self.host = urlsplit(origin).netloc
        self.limits = limits
        self.circuit = Circuit(open_after=limits.open_after, open_for=limits.open_for)

        self._is_open = False

    async def open(self) -> None:
        if self._is_open:
            # Also by one from which with_token or the like made this one.
            raise AlreadyOpenError("HTTP client")
        await self.transport.open()
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        await self.transport.close()

    async def send(self, request: Request, *, total: float | None = None) -> Response:
        """A response with a status below 400; each other result is an HttpError."""
        if not self._is_open:
            raise NotOpenError("HTTP client")
        call = _Call(self, self.limits.total if total is None else total)
        try:
            async with call.deadline:
                return await self._follow(call, request)
        except TimeoutError as error:
            if isinstance(error, HttpError):
                raise
            # It may have passed while the next attempt was waited for: then the reason is the last one's error.
            raise call.failure or HttpTimeoutError(request, f"no response within {call.seconds:g} s") from None

    async def _follow(self, call: "_Call", request: Request) -> Response:
        response = await call.repeat(request)
        for _ in range(_MAX_REDIRECTS):
            if response.status not in _MOVED:
                return response
            request = self._find_next(request, response)
            response = await call.repeat(request)
        if response.status in _MOVED:
            raise RedirectError(request, response)
        return response

    def _find_next(self, request: Request, response: Response) -> Request:
        """The request that a redirect asks for: it has the same credentials, so it stays at the same origin."""
        try:
            place = urljoin(f"{self.origin}{request.target}", response.headers.get("location", ""))
            is_own = request.method in {"GET", "HEAD"} and find_origin(place) == find_origin(self.origin)
        except ValueError:
            is_own = False
        if not is_own:
            raise RedirectError(request, response)
        parts = urlsplit(place)
        return replace(request, path=quote(parts.path or "/", safe=PATH), query=quote(parts.query, safe=f"{PATH}?"))


class _Call:
    """One call with all its attempts."""

    def __init__(self, sender: Sender, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = asyncio.timeout(seconds)
        self.failure: HttpError | None = None
        self._ends = asyncio.get_running_loop().time() + seconds
        self._sender = sender

    async def repeat(self, request: Request) -> Response:
        """Send it, again where it is safe and of use; the error of the last attempt."""
        # The library can be imported without the package; those who have a driver have it.
        from stamina import retry_context  # noqa: PLC0415

        limits = self._sender.limits
        attempts = retry_context(
            on=self._choose_wait if request.is_repeatable else (),
            attempts=limits.attempts,
            timeout=None,
            wait_initial=limits.first_wait,
            wait_max=limits.longest_wait,
            wait_jitter=limits.jitter,
        )
        async for attempt in attempts.with_name("kpi_kit.http", (), {}):
            with attempt:
                return await self._attempt(request)
        raise AssertionError("the last attempt returns or raises")

    def _choose_wait(self, error: Exception) -> bool | float:
        """Whether the request is sent again: as stamina waits, or in so many seconds."""
        if not isinstance(error, _TEMPORARY):
            return False
        if self._sender.circuit.state is CircuitState.OPEN:
            # Nothing would be sent, and this error says why.
            return False
        self.failure = error
        if error.retry_after is None:
            return True
        wait = error.retry_after + random.uniform(0, self._sender.limits.jitter)  # noqa: S311 not a secret
        # A wait beyond the deadline would only delay the error.
        return wait if asyncio.get_running_loop().time() + wait < self._ends else False

    async def _attempt(self, request: Request) -> Response:
        circuit = self._sender.circuit
        circuit.enter(request)
        self.failure = None
        try:
            response = await self._sender.transport.send(request)
            check_status(request, response)
        except HttpError as error:
            circuit.record(request, is_outage=error.is_outage)
            raise
        except asyncio.CancelledError:
            # By the deadline: the host is too slow. By the caller: that says nothing about the host.
            circuit.record(request, is_outage=True if self.deadline.expired() else None)
            raise
        except BaseException:
            circuit.record(request, is_outage=None)
            raise
        circuit.record(request, is_outage=False)
        return response


def check_status(request: Request, response: Response) -> None:
    """StatusError for a status from 400 on."""
    if response.status in _UNAVAILABLE:
        raise UnavailableStatusError(request, response, read_retry_after(response.headers))
    if response.status >= HTTPStatus.BAD_REQUEST:
        raise StatusError(request, response)
