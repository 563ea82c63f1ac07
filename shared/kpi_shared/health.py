"""The health endpoints of every part: liveness, readiness and information."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

import structlog
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from kpi_shared.errors import UnavailableError
from kpi_shared.http.openapi import problems
from kpi_shared.settings import PartSettings

log = structlog.get_logger(__name__)


class Remark(str):
    """A state that is named for operators, and does not make the part unready."""

    __slots__ = ()


# A check raises NotReadyError, or any other exception, if it fails; it may return a remark.
Check = Callable[[], Awaitable[Remark | None]]
# One that reads the state of the application.
AppCheck = Callable[[FastAPI], Awaitable[Remark | None]]


# A gateway is to take an address out of rotation within two seconds.
_CHECK_SECONDS = 1.0


class NotReadyError(Exception):
    """A failed check; its message is public."""


class Alive(BaseModel):
    status: Literal["alive"]


class Ready(BaseModel):
    status: Literal["ready"]
    checks: dict[str, str]


class Info(BaseModel):
    name: str
    version: str
    environment: str


def all_ok(states: Sequence[str]) -> bool:
    return all(state == "ok" or isinstance(state, Remark) for state in states)


def health_router(
    settings: PartSettings,
    *,
    version: str,
    checks: Mapping[str, Check],
    is_ready: Callable[[Sequence[str]], bool] = all_ok,
) -> APIRouter:
    """``is_ready`` decides by the states of all checks, in their order: "ok", or the message of the failure."""
    router = APIRouter(prefix="/health", tags=["health"])
    run = _SharedRun(checks)

    @router.get("", name="alive", summary="Report that the process is alive")
    @router.get("/live", summary="Report that the process is alive (for probes)")
    async def live() -> Alive:
        """Checks only the process itself."""
        return Alive(status="alive")

    @router.get("/ready", summary="Report whether the part can handle requests", responses=problems(UnavailableError))
    async def ready() -> Ready:
        """Checks everything that the part needs, such as its database."""
        states = await run.result()
        if not is_ready(states):
            raise UnavailableError("; ".join(f"{name}: {state}" for name, state in zip(checks, states, strict=True)))
        return Ready(status="ready", checks=dict(zip(checks, states, strict=True)))

    @router.get("/info", summary="Return the name, version and environment")
    async def info() -> Info:
        """For operators and monitoring; clients do not need it."""
        return Info(name=settings.part.program, version=version, environment=settings.app_env.value)

    return router


class _SharedRun:
    """One run of the checks for all probes that arrive during it: they have no rate limit and must be cheap."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._running: asyncio.Task[list[str]] | None = None

    async def result(self) -> list[str]:
        if self._running is None or self._running.done():
            # A separate task, because the first request may be cancelled.
            self._running = asyncio.create_task(self._run())
        return await asyncio.shield(self._running)

    async def _run(self) -> list[str]:
        return await asyncio.gather(*(_run_check(name, check) for name, check in self._checks.items()))


async def _run_check(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            remark = await check()
    except NotReadyError as error:
        return str(error)
    except Exception:
        log.warning("health check failed", check=name, exc_info=True)
        return "does not respond"
    return remark or "ok"
