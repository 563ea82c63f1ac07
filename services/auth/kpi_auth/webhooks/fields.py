"""The fields of a webhook as clients send them, and its states."""

from enum import StrEnum
from typing import Annotated

from kpi_shared.text import StorableText
from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError
from sqlmodel import Field

from kpi_auth.events.models import EventType

ALL = "*"
MAX_TYPES = 50
_MAX_TYPE = 100

Description = Annotated[StorableText, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]


def matches(pattern: str, event_type: str) -> bool:
    """``account.*`` is each type that begins with ``account.``."""
    return pattern in (ALL, event_type) or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))


def matches_any(patterns: list[str], event_type: str) -> bool:
    """No pattern at all stands for every type."""
    return not patterns or any(matches(pattern, event_type) for pattern in patterns)


def _check_pattern(value: str) -> str:
    if not any(matches(value, event_type) for event_type in EventType):
        raise PydanticCustomError("event_type", "There is no such type of event: see docs/events.md")
    return value


def _normalize(values: list[str]) -> list[str]:
    return [] if ALL in values else list(dict.fromkeys(values))


_Pattern = Annotated[str, StringConstraints(min_length=1, max_length=_MAX_TYPE), AfterValidator(_check_pattern)]
EventTypes = Annotated[
    list[_Pattern],
    Field(max_length=MAX_TYPES, description="Types of events, or patterns such as `account.*`; an empty list: all"),
    AfterValidator(_normalize),
]


class WebhookState(StrEnum):
    """Paused by an admin, or disabled by the service, which gives its reason."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class DeliveryState(StrEnum):
    PENDING = "pending"
    # Given up: each attempt has failed until the patience ended.
    DEAD = "dead"


class Outcome(StrEnum):
    """What came of an attempt to send an event."""

    DELIVERED = "delivered"
    # There will be another attempt.
    FAILED = "failed"
    DEAD = "dead"
    # The receiver wants no more events, or none can be signed: the webhook is disabled.
    REFUSED = "refused"
