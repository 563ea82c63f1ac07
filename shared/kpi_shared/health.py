"""The health endpoints of every part: alive, ready, and what it is."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import structlog
from fastapi import APIRouter
from pydantic import BaseModel

from kpi_shared.errors import UnavailableError
from kpi_shared.http.openapi import problems
from kpi_shared.settings import PartSettings

log = structlog.get_logger(__name__)

# A check returns when all is well and raises NotReadyError, or anything else, when not.
Check = Callable[[], Awaitable[None]]


class NotReadyError(Exception):
    """A check's answer in words that may be shown to anyone."""


class Alive(BaseModel):
    status: Literal["alive"]


class Ready(BaseModel):
    status: Literal["ready"]
    checks: dict[str, Literal["ok"]]


class Info(BaseModel):
    name: str
    version: str
    environment: str


def health_router(settings: PartSettings, *, version: str, checks: Mapping[str, Check]) -> APIRouter:
    router = APIRouter(prefix="/health", tags=["health"])
    shared = _Shared(checks)

    @router.get("", name="alive", summary="Is the process alive?")
    @router.get("/live", summary="Is the process alive? (for probes)")
    async def live() -> Alive:
        return Alive(status="alive")

    @router.get("/ready", summary="Can it answer?", responses=problems(UnavailableError))
    async def ready() -> Ready:
        states = await shared.result()
        if any(state != "ok" for state in states):
            raise UnavailableError("; ".join(f"{name}: {state}" for name, state in zip(checks, states, strict=True)))
        return Ready(status="ready", checks=dict.fromkeys(checks, "ok"))

    @router.get("/info", summary="What is it?")
    async def info() -> Info:
        return Info(name=settings.part.program, version=version, environment=settings.app_env.value)

    return router


class _Shared:
    """One run of the checks for all who ask meanwhile: probes have no limit, and must cost little."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._running: asyncio.Task[list[str]] | None = None

    async def result(self) -> list[str]:
        if self._running is None or self._running.done():
            # Not in the request that happens to be the first, which may be cancelled.
            self._running = asyncio.create_task(self._run())
        return await asyncio.shield(self._running)

    async def _run(self) -> list[str]:
        return await asyncio.gather(*(_state(name, check) for name, check in self._checks.items()))


async def _state(name: str, check: Check) -> str:
    try:
        await check()
    except NotReadyError as error:
        return str(error)
    except Exception:
        log.warning("health check failed", check=name, exc_info=True)
        return "does not answer"
    return "ok"
