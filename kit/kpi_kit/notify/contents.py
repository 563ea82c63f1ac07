"""What a notification says, in the form that each kind of channel sends. All of it can be stored as JSON."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class ContentKind(StrEnum):
    """What a channel sends, and so which ``to_...`` of a notification makes its content."""

    MAIL = "mail"
    DATABASE = "database"
    SLACK = "slack"
    SMS = "sms"
    WEBHOOK = "webhook"
    TEXT = "text"


class Content(BaseModel):
    """The base of all contents; none shows what it says in a log."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    __str__ = __repr__


class TextContent(Content):
    """A text, and a title that some channels show above it: for all channels that have no form of their own."""

    text: str = Field(min_length=1)
    title: str = ""


class MailContent(Content):
    """The subject and the bodies of a mail, or a template of the mailer with its values."""

    subject: str | None = None
    text: str | None = None
    # Used as it is: escape what users wrote, or use a template, which does.
    html: str | None = None
    template: str | None = None
    values: dict[str, JsonValue] = Field(default_factory=dict)
    reply_to: str | None = None


class DatabaseContent(Content):
    """What the recipient's list of notifications has of it, as a JSON object."""

    data: dict[str, JsonValue]


class SlackContent(Content):
    """A message of Slack. ``text`` has its marks (``*bold*``); with ``blocks`` it is what a notification shows."""

    text: str = Field(min_length=1)
    blocks: list[dict[str, JsonValue]] = Field(default_factory=list)


class SmsContent(Content):
    """A short message. One that is longer than 160 characters is sent, and paid for, in parts."""

    text: str = Field(min_length=1, max_length=1600)


class WebhookContent(Content):
    """An event as Standard Webhooks describes it: ``{"type": "invoice.paid", "timestamp": ..., "data": {...}}``."""

    type: str
    data: dict[str, JsonValue]
