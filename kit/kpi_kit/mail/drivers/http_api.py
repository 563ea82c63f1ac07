"""Calls of the HTTP APIs of mail services."""

import asyncio
from typing import Any, NoReturn

import httpx

from kpi_kit.mail.contract import SEND_SECONDS
from kpi_kit.mail.errors import MailUnavailableError, build_not_sent

# The service refuses the message. Other statuses are about the account or the service, which can be put right.
_FINAL = frozenset({400, 413, 422})
_MAX_ANSWER = 4096


class MailApi:
    """One pool of connections for all mails. ``key`` is never a part of an error."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str,
        auth: tuple[str, str] | None = None,
        headers: dict[str, str] | None = None,
        seconds: float = SEND_SECONDS,
    ) -> None:
        self._key = key
        self._seconds = seconds
        # httpx decodes a chunk as a whole, and a small one may be a thousand times larger then.
        plain = {"Accept-Encoding": "identity", **(headers or {})}
        self._client = httpx.AsyncClient(base_url=base_url, auth=auth, headers=plain, timeout=seconds)

    async def post(self, path: str, **content: Any) -> None:  # noqa: ANN401 httpx's json, data and files
        """Return if the service has accepted the mail; raise NotSentError otherwise."""
        try:
            # httpx's timeout applies to each part of a response, which may have no end.
            async with asyncio.timeout(self._seconds), self._client.stream("POST", path, **content) as response:
                if not response.is_success:
                    await self._refuse(response)
        except (TimeoutError, httpx.TimeoutException):
            raise MailUnavailableError("the mail service did not respond in time") from None
        except httpx.HTTPError as error:
            raise MailUnavailableError(type(error).__name__) from None

    async def close(self) -> None:
        await self._client.aclose()

    async def _refuse(self, response: httpx.Response) -> NoReturn:
        answer = b""
        async for chunk in response.aiter_raw():
            answer += chunk
            if len(answer) >= _MAX_ANSWER:
                break
        text = answer[:_MAX_ANSWER].decode(errors="replace")
        raise build_not_sent(
            f"{response.status_code} {text}", is_final=response.status_code in _FINAL, secrets=(self._key,)
        )
