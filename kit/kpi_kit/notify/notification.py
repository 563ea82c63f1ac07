"""A notification: its data, the channels it goes through, and what it says in each of them."""

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from kpi_kit.notify.contents import (
    Content,
    ContentKind,
    DatabaseContent,
    MailContent,
    SlackContent,
    SmsContent,
    TextContent,
    WebhookContent,
)
from kpi_kit.notify.errors import InvalidContentError, NoContentError
from kpi_kit.notify.recipients import Recipient

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Notification(BaseModel):
    """The base of all notifications: ``class InvoicePaid(Notification)`` has the kind ``invoice-paid``.

    Write ``via`` and ``to_text``, or the ``to_...`` of each channel that needs more than a text.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)
    kind: ClassVar[str] = "notification"

    def __init_subclass__(cls, *, kind: str | None = None, **more: Any) -> None:  # noqa: ANN401 pydantic's own
        super().__init_subclass__(**more)
        cls.kind = kind or _WORD_START.sub("-", cls.__name__).lower()

    @abstractmethod
    def via(self, recipient: Recipient) -> Sequence[str]:
        """The names of the channels for this recipient."""

    def to_text(self, recipient: Recipient) -> TextContent:  # noqa: ARG002 for those who write it
        """What a mail, Slack, a short message and further channels say, unless they have an own ``to_...``."""
        raise NoContentError(f"{type(self).__name__} has no to_text")

    def to_mail(self, recipient: Recipient) -> MailContent:
        content = self.to_text(recipient)
        return MailContent(subject=content.title, text=content.text)

    def to_database(self, recipient: Recipient) -> dict[str, JsonValue]:  # noqa: ARG002 as above
        """All fields, as JSON."""
        return self.model_dump(mode="json")

    def to_slack(self, recipient: Recipient) -> SlackContent:
        content = self.to_text(recipient)
        text = escape_slack(content.text)
        return SlackContent(text=f"*{escape_slack(content.title)}*\n{text}" if content.title else text)

    def to_sms(self, recipient: Recipient) -> SmsContent:
        return SmsContent(text=self.to_text(recipient).text)

    def to_webhook(self, recipient: Recipient) -> WebhookContent:  # noqa: ARG002 as above
        """All fields, as JSON."""
        return WebhookContent(type=self.kind, data=self.model_dump(mode="json"))


def escape_slack(text: str) -> str:
    """What users wrote, so that it mentions no channel (``<!everyone>``) and hides no link.

    The three characters that Slack wants escaped (docs.slack.dev, "Escaping text", read in November 2026).
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_RENDERERS: dict[ContentKind, Callable[[Notification, Recipient], Content]] = {
    ContentKind.MAIL: lambda notification, recipient: notification.to_mail(recipient),
    ContentKind.DATABASE: lambda notification, recipient: DatabaseContent(data=notification.to_database(recipient)),
    ContentKind.SLACK: lambda notification, recipient: notification.to_slack(recipient),
    ContentKind.SMS: lambda notification, recipient: notification.to_sms(recipient),
    ContentKind.WEBHOOK: lambda notification, recipient: notification.to_webhook(recipient),
    ContentKind.TEXT: lambda notification, recipient: notification.to_text(recipient),
}


def render(notification: Notification, recipient: Recipient, kind: ContentKind) -> dict[str, JsonValue]:
    """The content as JSON; NoContentError, InvalidContentError, or what the notification raises."""
    try:
        content = _RENDERERS[kind](notification, recipient).model_dump(mode="json")
        problem = find_problem(content)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]["msg"]
    if problem:
        raise InvalidContentError(f"{notification.kind}: the content for {kind.value} is not valid: {problem}")
    return content


def find_problem(value: JsonValue) -> str | None:
    """What a database or a service refuses in a JSON value, or None."""
    if isinstance(value, str):
        # Half of a pair of UTF-16 has no encoding.
        has_half = any("\ud800" <= character <= "\udfff" for character in value)
        return "a text has U+0000 or half a character" if has_half or "\0" in value else None
    if isinstance(value, float) and not isfinite(value):
        return "a number is not finite"
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return next(filter(None, map(find_problem, inner)), None)
