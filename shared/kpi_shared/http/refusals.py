"""The response to a request that is refused because of an overload, as cheap as it can be."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from kpi_shared.errors import PROBLEM_MEDIA_TYPE, UnavailableError, problem_body


class Answer(NamedTuple):
    """A complete response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Refusal:
    """A 503 that is rendered once, but for the request's id.

    It has no log line of its own: while there are too many requests, each refusal takes time from the others.
    """

    def __init__(self, error: UnavailableError, *, path: str = "") -> None:
        # In the metrics this is the route of the request, if it has none: it is refused before it is routed.
        self.path_format = path
        more = {**error.members, "instance": "\0"}
        body = problem_body(type=error.type, title=error.title, status=error.status, detail=error.detail, **more)
        self._before, self._after = body.split(b"\\u0000")
        self._status = int(error.status)
        self._headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
        self._headers.append((b"content-type", PROBLEM_MEDIA_TYPE.encode()))

    def render(self, scope: Scope) -> Answer:
        scope["is_overload"] = True
        scope.setdefault("route", self)
        body = self._before + scope["request_id"].encode() + self._after
        return Answer(self._status, [*self._headers, (b"content-length", b"%d" % len(body))], body)

    async def send(self, scope: Scope, send: Send) -> None:
        answer = self.render(scope)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})


FindRefusal = Callable[[Scope], Refusal | None]


def refuse_early(app: FastAPI, find: FindRefusal) -> None:
    """Within all other middleware, so that a refusal has an id and is part of the metrics."""
    app.user_middleware.append(Middleware(EarlyRefusal, find=find))


class EarlyRefusal:
    """Refuses a request for which ``find`` has a refusal before it is routed, and before its body is read."""

    def __init__(self, app: ASGIApp, *, find: FindRefusal) -> None:
        self._app = app
        self._find = find

    # Not a coroutine of its own, so that other requests take no longer.
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        refusal = self._find(scope) if scope["type"] == "http" else None
        return self._app(scope, receive, send) if refusal is None else refusal.send(scope, send)
