"""The rows of messages as they are encoded. MessagePublic is the only list of a message's public fields."""

from collections.abc import Sequence
from typing import Any

from kpi_shared.records.responses import RecordRow, make_account

from kpi_content.messages.schemas import MessagePublic

# A message by the names of MessagePublic's fields, in their order.
MessageRow = RecordRow

# The statements select these, then the author's id and username.
FIELDS = tuple(name for name in MessagePublic.model_fields if name != "author")
_AUTHOR_ID = len(FIELDS)
_USERNAME = _AUTHOR_ID + 1


def make_message(values: Sequence[Any]) -> MessageRow:
    message: MessageRow = dict(zip(FIELDS, values, strict=False))
    message["author"] = make_account(values[_AUTHOR_ID], values[_USERNAME])
    return message
