"""What an event is, and the patterns of names."""

import re
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from kpi_kit.events.errors import EventNameError, EventTooLargeError, InvalidEventError
from kpi_kit.payloads import find_lost, write_json

_WORD = "[a-z0-9_]+"
_NAME = re.compile(rf"{_WORD}(\.{_WORD}){{0,9}}")
_PATTERN = re.compile(rf"({_WORD}|\*)(\.({_WORD}|\*)){{0,9}}")
_MAX_NAME = 100
MAX_PAYLOAD = 256 * 1024


class Event(BaseModel):
    """What happened, as a model: ``event_name = "user.created"``, and the fields.

    Fields are added with a default only, since others may still send, or read, the version before.
    """

    model_config = ConfigDict(frozen=True)

    event_name: ClassVar[str]


def check_name(name: str) -> str:
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise EventNameError('a name is 1 to 10 words of lower case letters, digits and "_", with dots: user.created')
    return name


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A name, or one in which ``*`` stands for one word or more: ``user.*``, ``*.created``, ``*``."""
    if len(pattern) > _MAX_NAME or not _PATTERN.fullmatch(pattern):
        raise EventNameError("a pattern is a name in which * may stand in place of words: user.*, *.created")
    words = (rf"{_WORD}(?:\.{_WORD})*" if word == "*" else word for word in pattern.split("."))
    return re.compile(r"\.".join(words))


def encode_event(event: Event) -> bytes:
    """Its JSON, of 256 KiB at most; InvalidEventError for a value that would not come back, EventTooLargeError."""
    text = write_json(event)
    name = type(event).__name__
    if text is None:
        raise InvalidEventError(f"{name} has a value that JSON cannot have")
    payload = text.encode()
    if len(payload) > MAX_PAYLOAD:
        raise EventTooLargeError(MAX_PAYLOAD)
    if lost := find_lost(event, text):
        raise InvalidEventError(f"{name} would not come back from JSON with the same {', '.join(lost)}")
    return payload
