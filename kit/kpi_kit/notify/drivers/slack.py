"""Incoming webhooks of Slack.

Not by apprise 2.3, which sends to hooks.slack.com only and returns True or False: a webhook that was revoked could not
be told from a service that is busy.
"""

import json
import re

import httpx

from kpi_kit.errors import UrlError
from kpi_kit.notify.contents import ContentKind, SlackContent
from kpi_kit.notify.contract import Delivery, Traits
from kpi_kit.notify.posting import Answer, Poster, check_answer
from kpi_kit.urls import Url

# Slack's own words, such as channel_is_archived.
_REASON = re.compile(rb"[a-z_]{3,40}")


class SlackChannel:
    traits = Traits("slack", ContentKind.SLACK, needs_address=False)

    def __init__(self, url: httpx.URL, seconds: float) -> None:
        self._url = url
        self._poster = Poster(seconds)

    async def open(self) -> None:
        await self._poster.open()

    async def close(self) -> None:
        await self._poster.close()

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:  # noqa: ARG002 takes none
        content = SlackContent.model_validate(delivery.content)
        body = json.dumps(content.model_dump(mode="json", exclude_defaults=True)).encode()
        answer = await self._poster.post(self._url, content=body, headers={"Content-Type": "application/json"})
        check_answer(answer, reason=_read_reason(answer))


def _read_reason(answer: Answer) -> str:
    return answer.body.decode() if _REASON.fullmatch(answer.body) else ""


def create_driver(parts: Url, seconds: float) -> SlackChannel:
    """The address that Slack gives, with slack:// in the place of https://."""
    if not parts.host or parts.path in ("", "/"):
        raise UrlError(
            "slack:// is followed by the address of an incoming webhook: slack://hooks.slack.com/services/..."
        )
    scheme = "http" if parts.scheme == "slack+http" else "https"
    return SlackChannel(httpx.URL(f"{scheme}{parts.text[len(parts.scheme) :]}"), seconds)
