"""What the gateway's readiness asks: whether each service behind it is ready."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from kpi_shared.errors import ProblemError
from kpi_shared.health import Check, NotReadyError

from kpi_gateway.routes import RouteTable
from kpi_gateway.upstream import fetch


def upstream_checks(pages: FastAPI, table: RouteTable) -> Mapping[str, Check]:
    """One check for each upstream that the table leads to, by its name."""
    return {name: _check(pages, name) for name in table.upstreams}


def _check(pages: FastAPI, upstream: str) -> Check:
    async def ready() -> None:
        try:
            status, _body = await fetch(pages.state.upstreams, upstream, "/health/ready")
        except ProblemError as error:
            raise NotReadyError(error.type) from error
        if status != HTTPStatus.OK:
            raise NotReadyError(f"answers {status}")

    return ready
