"""Which origins may call the API from a browser: Starlette's middleware, configured for the platform."""

from collections.abc import Sequence
from http import HTTPStatus

from kpi_shared.errors import ProblemError, problem_response
from kpi_shared.http.refusals import FindRefusal, Refusal
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kpi_gateway.origins import EXPOSED_HEADERS

_VARY = (b"vary", b"Origin")


def _find_none(_scope: Scope) -> None:
    pass


class CrossOriginError(ProblemError):
    status = 400
    type = "cross-origin"
    title = "This origin may not make this cross-origin request"


class Cors(CORSMiddleware):
    """Allows ``origins``, and no others, to call with credentials, any method and any header field."""

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=True,
            expose_headers=EXPOSED_HEADERS,
        )

        self._find_refusal: FindRefusal = getattr(app, "find_refusal", _find_none)

    def find_refusal(self, scope: Scope) -> Refusal | None:
        """That of the application, for a request without an Origin."""
        if any(name == b"origin" for name, _ in scope["headers"]):
            return None
        if self.allow_origins:
            scope["response_headers"].append(_VARY)
        return self._find_refusal(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Only requests with an Origin pass the middleware; other responses only say that they vary with it."""
        if scope["type"] != "http" or b"origin" in [name for name, _ in scope["headers"]]:
            await super().__call__(scope, receive, send)
            return
        if self.allow_origins:
            scope["response_headers"].append(_VARY)
        await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == HTTPStatus.OK:
            return response
        refusal = problem_response(CrossOriginError(bytes(response.body).decode()))
        refusal.headers.update(
            {name: response.headers[name] for name in response.headers if name not in refusal.headers}
        )
        return refusal
