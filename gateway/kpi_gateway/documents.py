"""The merged OpenAPI document, as fresh as the services' own."""

import asyncio
import hashlib
import json
import time
from http import HTTPStatus
from typing import NamedTuple

import structlog
from fastapi import FastAPI
from kpi_shared.errors import ProblemError
from pydantic import ValidationError

from kpi_gateway.openapi import Json, Merger, ServiceDocument
from kpi_gateway.routes import RouteTable
from kpi_gateway.upstream import fetch

log = structlog.get_logger(__name__)

_FRESH_SECONDS = 10.0
# A service that is left out is asked again soon.
_FRESH_SECONDS_WITH_GAPS = 1.0

_INTRODUCTION = """
Register with `POST /api/v1/users`, then press **Authorize** and sign in: the calls with a lock are then made with
your token.

Every path here is also served without `/v1` and without `/api/v1`. Errors are problem documents
(RFC 9457); their `instance` is the request's id.
"""


class Rendered(NamedTuple):
    body: bytes
    etag: str


class Documents:
    """Fetches the services' documents when they are asked for, and keeps the merged one for a short time."""

    def __init__(self, pages: FastAPI, table: RouteTable) -> None:
        self._pages = pages
        self._table = table
        self._rendered: Rendered | None = None
        self._fresh_until = 0.0
        # One fetch for all who ask meanwhile.
        self._refreshing = asyncio.Lock()

    async def rendered(self) -> Rendered:
        async with self._refreshing:
            if self._rendered is None or time.monotonic() >= self._fresh_until:
                self._rendered = await self._refresh()
            return self._rendered

    async def _refresh(self) -> Rendered:
        services = self._table.upstreams
        found = await asyncio.gather(*(self._document(name) for name in services))
        documents = dict(zip(services, found, strict=True))
        whole = all(documents.values())
        self._fresh_until = time.monotonic() + (_FRESH_SECONDS if whole else _FRESH_SECONDS_WITH_GAPS)
        body = json.dumps(self._merged(documents), ensure_ascii=False, separators=(",", ":")).encode()
        return Rendered(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    async def _document(self, service: str) -> ServiceDocument | None:
        """The service's document, or None when it has none to give: the others' are shown all the same."""
        try:
            status, body = await fetch(self._pages.state.upstreams, service, "/openapi.json")
            if status == HTTPStatus.OK:
                return ServiceDocument.model_validate_json(body)
            reason = f"answers {status}"
        except ProblemError as error:
            reason = error.type
        except ValidationError:
            reason = "is no OpenAPI document"
        log.warning("service left out of the API document", service=service, reason=reason)
        return None

    def _merged(self, documents: dict[str, ServiceDocument | None]) -> Json:
        merger = Merger(ServiceDocument.model_validate(self._pages.openapi()), self._table)
        for service, document in documents.items():
            if document is not None:
                merger.add(service, document)
        missing = [service for service, document in documents.items() if document is None]
        gap = f"\n**Not here just now**, because it gave no document: {', '.join(missing)}.\n" if missing else ""
        return merger.document(
            {"title": self._pages.title, "version": self._pages.version, "description": _INTRODUCTION + gap}
        )
