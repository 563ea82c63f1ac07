"""How streamed uploads are described: in one operation with messages in one piece, whose path and method they have.

Generators take the first media type, so that their clients create messages as before.
"""

from typing import Any

from kpi_shared.errors import UnavailableError
from kpi_shared.http.media_types import ONLY_WITH_QUERY
from kpi_shared.http.middleware import BodyTooLargeError

from kpi_content.messages.upload_errors import (
    EmptyUploadError,
    MalformedUploadError,
    RefusedUploadError,
    SilentUploadError,
    StoppedUploadError,
    TooManyUploadsError,
    UploadTooLongError,
)

EVENT_STREAM, LINES = "text/event-stream", "application/x-ndjson"
QUERY = "stream=true"
# With the common ones of the same statuses.
UPLOAD_ERRORS = (
    *(RefusedUploadError, SilentUploadError, MalformedUploadError, EmptyUploadError),
    *(BodyTooLargeError, UploadTooLongError, UnavailableError, StoppedUploadError, TooManyUploadsError),
)

_PARAMETERS = [
    {
        "name": "stream",
        "in": "query",
        "required": False,
        "schema": {"type": "boolean"},
        "description": f"With `{QUERY}` the body is {LINES} or {EVENT_STREAM}, and is read as it arrives",
    },
    {
        "name": "role",
        "in": "query",
        "required": False,
        "schema": {"$ref": "#/components/schemas/MessageRole"},
        "description": f"The role of a message with `{QUERY}`, unless its first delta has one; by default assistant",
    },
]


def _describe(description: str) -> dict[str, Any]:
    # No text that a client has before it begins. An example would have to be a text.
    return {"schema": {"type": "string", "format": "binary", "description": description}, ONLY_WITH_QUERY: QUERY}


_CONTENT = {
    LINES: _describe(
        'A line `{"delta": "some text"}` for each piece; the first may also have the members `role` and `metadata`'
    ),
    EVENT_STREAM: _describe(
        "Server-Sent Events, the data of each being such an object, or else the text itself; `data: [DONE]` is the end"
    ),
}
UPLOAD: dict[str, Any] = {"parameters": _PARAMETERS, "requestBody": {"content": _CONTENT}}
