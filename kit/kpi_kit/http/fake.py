"""A client for tests that sends nothing: recorded responses in, recorded requests out."""

import json
from collections.abc import Callable, Mapping
from typing import Self

from kpi_kit.http.client import HttpClient
from kpi_kit.http.errors import ConnectionFailedError, HttpError, HttpTimeoutError, ResponseTooLargeError
from kpi_kit.http.headers import normalize
from kpi_kit.http.limits import Limits
from kpi_kit.http.messages import Request, Response, write_json
from kpi_kit.http.sending import Sender
from kpi_kit.observing import Observer

_NO_WAITING = Limits(first_wait=0, longest_wait=0, jitter=0)
_HOST = "fake.test"
Failure = Callable[[Request], HttpError]


class HttpFake(HttpClient):
    """Everything above the network is the real client's: deadlines, repetitions, circuit, errors.

    >>> async with HttpFake() as http:
    ...     http.answer("GET", "/posts/1", json={"id": 1})
    ...     await http.get_json("/posts/1")
    ...     http.assert_sent("GET", "/posts/1")
    """

    def __init__(self, *, limits: Limits = _NO_WAITING, observer: Observer | None = None) -> None:
        self._fake = _FakeTransport(limits)
        sender = Sender(self._fake, origin=f"https://{_HOST}", limits=limits)
        super().__init__(sender, base_path="", observer=observer, driver="fake")

    @classmethod
    def from_url(cls, *_: object, observer: Observer | None = None, **_others: object) -> Self:
        """A fake, whatever the URL, so that a test can put this class in the place of the real one.

        A path of the URL is left out: responses are recorded for the paths of the calls.
        """
        return cls(observer=observer)

    def answer(
        self,
        method: str,
        path: str,
        *,
        status: int = 200,
        json: object = None,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Record a response. Those of one method and path are given in their order, the last one again and again."""
        own = {"content-type": "application/json"} if json is not None else {}
        body = write_json(json) if json is not None else content
        response = Response(status, {**own, **normalize(headers or {})}, body)
        self._fake.add(method, path, lambda _: response)

    def fail(self, method: str, path: str, *, timeout: bool = False) -> None:
        """Record, in place of a response, a connection that ends, or one that stays silent for too long."""
        kind, text = (HttpTimeoutError, "silent for too long") if timeout else (ConnectionFailedError, "no connection")

        def raise_error(request: Request) -> Response:
            raise kind(request, text)

        self._fake.add(method, path, raise_error)

    @property
    def sent(self) -> list[Request]:
        """All requests, also those that were repeated, in their order."""
        return self._fake.sent

    def assert_sent(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        query: str | None = None,
        times: int | None = None,
    ) -> None:
        """AssertionError unless such a request was sent, ``times`` times if given. ``headers`` are some of its own."""
        found = [each for each in self.sent if (each.method, each.path) == (method, path)]
        found = [each for each in found if json is None or _has_body(each, json)]
        found = [each for each in found if query is None or each.query == query]
        wanted = normalize(headers or {}).items()
        found = [each for each in found if wanted <= each.headers.items()]
        if not found or (times is not None and len(found) != times):
            sent = ", ".join(f"{each.method} {each.target}" for each in self.sent) or "nothing"
            raise AssertionError(f"{method} {path} as described was sent {len(found)} times; sent was: {sent}")

    def assert_nothing_sent(self) -> None:
        if self.sent:
            raise AssertionError(f"{len(self.sent)} requests were sent")


class _FakeTransport:
    def __init__(self, limits: Limits) -> None:
        self.sent: list[Request] = []
        self._limits = limits
        self._answers: dict[tuple[str, str], list[Callable[[Request], Response]]] = {}
        self._last: dict[tuple[str, str], Callable[[Request], Response]] = {}

    def add(self, method: str, path: str, answer: Callable[[Request], Response]) -> None:
        self._answers.setdefault((method, path), []).append(answer)

    async def open(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        key = (request.method, request.path)
        if waiting := self._answers.get(key):
            self._last[key] = waiting.pop(0)
        if key not in self._last:
            raise AssertionError(f"no response is recorded for {request.method} {request.path}")
        response = self._last[key](request)
        if len(response.content) > self._limits.max_body_bytes:
            raise ResponseTooLargeError(request, self._limits.max_body_bytes)
        return response


def _has_body(request: Request, body: object) -> bool:
    try:
        return bool(json.loads(request.content) == json.loads(write_json(body)))
    except ValueError:
        return False
