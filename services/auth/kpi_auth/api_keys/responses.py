"""The responses with API keys. None may be stored: some contain the text of a key."""

from fastapi import Response
from kpi_shared.database import AnyRow
from pydantic import BaseModel

from kpi_auth.api_keys.etags import key_etag
from kpi_auth.api_keys.schemas import ApiKeyCreated, ApiKeyPublic, ApiKeyRotated
from kpi_auth.api_keys.service import NewKey, RotatedKey


def key_response(row: AnyRow) -> Response:
    return _respond(row, ApiKeyPublic.of(row), 200)


def created_response(new: NewKey) -> Response:
    return _respond(new.row, ApiKeyCreated.with_key(new.row, new.text), 201)


def rotated_response(rotated: RotatedKey) -> Response:
    new, old = rotated
    created = ApiKeyCreated.with_key(new.row, new.text)
    shown = ApiKeyRotated(**dict(created), replaces=old.id, replaced_expires_at=old.expires_at)
    return _respond(new.row, shown, 201)


def _respond(row: AnyRow, shown: BaseModel, status: int) -> Response:
    headers = {"ETag": key_etag(version=row.version, key_id=row.id), "Cache-Control": "no-store"}
    if status == 201:  # noqa: PLR2004 created
        headers["Location"] = f"/api-keys/{row.id}"
    return Response(shown.model_dump_json(), status, headers, "application/json")
