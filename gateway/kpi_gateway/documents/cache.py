"""Fetches the services' OpenAPI documents, and keeps the merged one for a short time."""

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

from kpi_gateway.documents.merging import ServiceDocument, merge
from kpi_gateway.routes import RouteTable
from kpi_gateway.upstream.contract import fetch

log = structlog.get_logger(__name__)

_FRESH_SECONDS = 10.0
# A service that is missing is asked again soon.
_FRESH_SECONDS_WITH_GAPS = 1.0


class RenderedDocument(NamedTuple):
    body: bytes
    etag: str


class DocumentCache:
    """The merged document, fetched when it is requested and no longer fresh."""

    def __init__(self, pages: FastAPI, table: RouteTable) -> None:
        self._pages = pages
        self._table = table
        self._rendered: RenderedDocument | None = None
        self._fresh_until = 0.0
        # One fetch serves all requests that arrive in the meantime.
        self._lock = asyncio.Lock()

    async def get(self) -> RenderedDocument:
        async with self._lock:
            if self._rendered is None or time.monotonic() >= self._fresh_until:
                self._rendered = await self._render()
            return self._rendered

    async def _render(self) -> RenderedDocument:
        services = self._table.upstreams
        found = await asyncio.gather(*(self._fetch(name) for name in services))
        documents = dict(zip(services, found, strict=True))
        is_complete = all(documents.values())
        self._fresh_until = time.monotonic() + (_FRESH_SECONDS if is_complete else _FRESH_SECONDS_WITH_GAPS)
        merged = merge(self._pages.openapi(), self._table, documents)
        body = json.dumps(merged, ensure_ascii=False, separators=(",", ":")).encode()
        return RenderedDocument(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    async def _fetch(self, service: str) -> ServiceDocument | None:
        """The service's document, or None if it provides none: those of the others are shown all the same."""
        try:
            status, body = await fetch(self._pages.state.upstreams, service, "/openapi.json")
            if status == HTTPStatus.OK:
                return ServiceDocument.model_validate_json(body)
            reason = f"status {status}"
        except ProblemError as error:
            reason = error.type
        except ValidationError:
            reason = "is not an OpenAPI document"
        log.warning("service left out of the API document", service=service, reason=reason)
        return None
