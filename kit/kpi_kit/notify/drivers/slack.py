"""Incoming webhooks of Slack.

Not by apprise 2.3, which sends to hooks.slack.com only and returns True or False: a webhook that was revoked could not
be told from a service that is busy.
"""

import json
import re

from kpi_kit.errors import UrlError
from kpi_kit.notify.contents import ContentKind, SlackContent
from kpi_kit.notify.contract import Delivery, Traits
from kpi_kit.notify.http_channel import HttpChannel, check_url
from kpi_kit.urls import Url

# Slack's own words, such as channel_is_archived.
_REASON = re.compile(rb"[a-z_]{3,40}")
_FORM = "slack://hooks.slack.com/services/..."


class SlackChannel(HttpChannel):
    traits = Traits("slack", ContentKind.SLACK, needs_address=False)

    def __init__(self, url: str, seconds: float) -> None:
        headers = {"Content-Type": "application/json"}
        super().__init__(url, seconds, headers=headers, read_reason=_read_reason)

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:  # noqa: ARG002 takes none
        content = SlackContent.model_validate(delivery.content)
        await self._post(json.dumps(content.model_dump(mode="json", exclude_defaults=True)).encode())


def _read_reason(body: bytes) -> str:
    return body.decode() if _REASON.fullmatch(body) else ""


def create_driver(parts: Url, seconds: float) -> SlackChannel:
    """The address that Slack gives, with slack:// in the place of https://."""
    if not parts.host or parts.path in ("", "/"):
        raise UrlError(f"slack:// is followed by the address of an incoming webhook: {_FORM}")
    scheme = "http" if parts.scheme == "slack+http" else "https"
    return SlackChannel(check_url(f"{scheme}{parts.text[len(parts.scheme) :]}", _FORM), seconds)
