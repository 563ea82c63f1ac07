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


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class Poster:
    """httpx, and not the client of kpi_kit.http: the job of a delivery tries again, and does so much later."""

    def __init__(self, seconds: float, *, keeps_connections: bool = True) -> None:
        self._seconds = seconds
        self._limits = httpx.Limits(max_keepalive_connections=10 if keeps_connections else 0)
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        self._client = httpx.AsyncClient(
            # No proxy of the environment: it would resolve the host once more.
            trust_env=False,
            follow_redirects=False,
            limits=self._limits,
            # All of an attempt has one bound.
            timeout=None,  # noqa: S113 asyncio.timeout in post()
        )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def post(
        self,
        url: httpx.URL,
        *,
        content: bytes,
        headers: Mapping[str, str],
        auth: tuple[str, str] | None = None,
        server_name: str | None = None,
    ) -> Answer:
        """The response; ChannelUnavailableError if there is none in time.

        ``server_name`` is the one that the certificate must be for, where the URL has an address in its place.
        """
        if self._client is None:
            raise ChannelUnavailableError("the channel is not open")
        extensions = {"sni_hostname": server_name} if server_name else {}
        try:
            with quiet():
                async with asyncio.timeout(self._seconds):
                    request = self._client.build_request(
                        "POST", url, content=content, headers=headers, extensions=extensions
                    )
                    return await self._send(self._client, request, auth)
        except TimeoutError:
            raise ChannelUnavailableError(f"no response within {self._seconds:g} seconds") from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            # Its text may quote the URL.
            raise ChannelUnavailableError(f"the request failed: {type(error).__name__}") from None

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request, auth: tuple[str, str] | None) -> Answer:
        response = await client.send(request, auth=httpx.BasicAuth(*auth) if auth else None, stream=True)
        try:
            return Answer(response.status_code, await _read_some(response))
        finally:
            await response.aclose()


async def _read_some(response: httpx.Response) -> bytes:
    body = b""
    with suppress(httpx.HTTPError, httpx.StreamError):
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
