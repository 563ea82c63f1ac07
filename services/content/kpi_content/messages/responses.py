"""The response to a message that was written."""

from fastapi import Response
from kpi_shared.records.responses import write_response

from kpi_content.messages.rows import MessageRow


def created_response(row: MessageRow) -> Response:
    location = f"/conversations/{row['conversation_id']}/messages/{row['id']}"
    return write_response(row, status=201, headers={"Location": location})
