"""The gateway's own readiness, and the state of each service behind it.

All gateways have the same services behind them, so a service that is down must not take them all out of a load
balancer. Only a gateway that gets no response from any of them is not ready: that is its own network, most likely.
"""

from collections.abc import Mapping, Sequence

from fastapi import FastAPI
from kpi_shared.health import Check, NotReadyError

from kpi_gateway.routes import RouteTable
from kpi_gateway.upstream.rotation import NO_RESPONSE, find_problem


def upstream_checks(pages: FastAPI, table: RouteTable) -> Mapping[str, Check]:
    """One check for each upstream in the route table, by its name."""
    return {name: _create_check(pages, name) for name in table.upstreams}


def can_serve(states: Sequence[str]) -> bool:
    """Whether any service responds, even if none is ready."""
    return any(state not in NO_RESPONSE for state in states)


def _create_check(pages: FastAPI, upstream: str) -> Check:
    async def check() -> None:
        if problem := await find_problem(pages.state.by_name[upstream]):
            raise NotReadyError(problem)

    return check
