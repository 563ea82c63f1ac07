"""The gateway's readiness checks: whether each service behind it is ready."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from kpi_shared.errors import ProblemError
from kpi_shared.health import Check, NotReadyError

from kpi_gateway.routes import RouteTable
from kpi_gateway.upstream.contract import fetch


def upstream_checks(pages: FastAPI, table: RouteTable) -> Mapping[str, Check]:
    """One check for each upstream in the route table, by its name."""
    return {name: _create_check(pages, name) for name in table.upstreams}


def _create_check(pages: FastAPI, upstream: str) -> Check:
    async def check() -> None:
        try:
            status, _body = await fetch(pages.state.upstreams, upstream, "/health/ready")
        except ProblemError as error:
            raise NotReadyError(error.type) from error
        if status != HTTPStatus.OK:
            raise NotReadyError(f"status {status}")

    return check
