"""One request to the endpoint, with bounds for its time and for the size of its response.

What the endpoint says is never part of a message: it could contain the key, or signs that a terminal obeys.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import httpx

from kpi_cli.errors import FailureError
from kpi_cli.generate.ai.endpoint import Endpoint

# In seconds: a model on a machine without a GPU takes a minute for a plan.
PATIENCE = 180.0
MAX_BYTES = 256 * 1024


def ask(endpoint: Endpoint, messages: list[dict[str, str]], *, patience: float = PATIENCE) -> bytes:
    """The body of the response to a request for JSON; FailureError if there is none."""
    body = {"model": endpoint.model, "messages": messages, "response_format": {"type": "json_object"}, "stream": False}
    try:
        return asyncio.run(asyncio.wait_for(_ask(endpoint, body), patience))
    except TimeoutError:
        raise FailureError("ai", f"the endpoint did not finish its response within {patience:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ImportError, ValueError) as error:
        raise FailureError("ai", f"the endpoint cannot be reached: {_describe(error)}", fix=_CHECK) from None


_CHECK = "check KPI_AI_URL, and that the endpoint runs"
_REASONS: dict[type[Exception], str] = {
    httpx.ConnectTimeout: "it does not accept a connection",
    httpx.ConnectError: "no connection could be made, or its certificate is not valid",
    # While the client is made, from HTTPS_PROXY and ALL_PROXY.
    ImportError: "the proxy that the environment names cannot be used",
    ValueError: "the proxy that the environment names is not valid",
    httpx.RemoteProtocolError: "its response is not HTTP, or ended early",
}


def _describe(error: Exception) -> str:
    return _REASONS.get(type(error), type(error).__name__)


async def _ask(endpoint: Endpoint, body: dict[str, Any]) -> bytes:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    # Through a proxy of the environment only what is encrypted, so that the proxy does not see the key.
    client = httpx.AsyncClient(follow_redirects=False, timeout=None, trust_env=endpoint.is_encrypted)  # noqa: S113 the whole has one
    async with client, client.stream("POST", endpoint.address, json=body, headers=headers) as response:
        _check_status(response.status_code)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FailureError("ai", "the endpoint compresses its response, which was not asked for")
        return await _read(response)


def _check_status(status: int) -> None:
    if status == HTTPStatus.OK:
        return
    if 300 <= status < 400:  # noqa: PLR2004 redirections
        problem, fix = "redirects to another address, which is not followed", "set KPI_AI_URL to the final address"
    elif status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        problem, fix = f"does not accept the key (HTTP {status})", "set KPI_AI_KEY to a key that is valid there"
    elif status == HTTPStatus.NOT_FOUND:
        problem, fix = "knows no such address or model (HTTP 404)", "check KPI_AI_URL and KPI_AI_MODEL"
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        problem, fix = "accepts no more requests for now (HTTP 429)", "try again later"
    else:
        problem, fix = f"failed with HTTP {status}", "try again, or check KPI_AI_URL and KPI_AI_MODEL"
    raise FailureError("ai", f"the endpoint {problem}", fix=fix)


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_BYTES:
            raise FailureError("ai", f"the endpoint's response is larger than {MAX_BYTES // 1024} KiB")
    return bytes(body)
