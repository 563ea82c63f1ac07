"""The response to a request that is refused because of an overload, as cheap as it can be."""

from kpi_shared.errors import PROBLEM_MEDIA_TYPE, problem_body
from starlette.types import Scope, Send

from kpi_gateway.upstream.contract import UpstreamBusyError


def _render() -> tuple[bytes, bytes]:
    """The problem document around the request's id."""
    error = UpstreamBusyError()
    more = {**error.members, "instance": "\0"}
    body = problem_body(type=error.type, title=error.title, status=error.status, detail=error.detail, **more)
    before, after = body.split(b"\\u0000")
    return before, after


_BEFORE, _AFTER = _render()
_CONTENT_TYPE = (b"content-type", PROBLEM_MEDIA_TYPE.encode())
_RETRY_AFTER = (b"retry-after", UpstreamBusyError().headers["Retry-After"].encode())


async def refuse(scope: Scope, send: Send) -> None:
    """Send the 503. It has no log line of its own: the upstream client logs how many there were."""
    scope["is_overload"] = True
    body = _BEFORE + scope["request_id"].encode() + _AFTER
    headers = [_CONTENT_TYPE, (b"content-length", b"%d" % len(body)), _RETRY_AFTER]
    await send({"type": "http.response.start", "status": UpstreamBusyError.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
