"""The responses with the secret of a webhook. None may be stored."""

from collections.abc import Mapping

from fastapi import Response

from kpi_auth.webhooks.schemas import WebhookCreated
from kpi_auth.webhooks.service import WithSecret


def secret_response(new: WithSecret, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = WebhookCreated.with_secret(new.row, new.secret).model_dump_json()
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")
