"""``show-queues`` and the commands on failed jobs of every service, on the jobs in its database.

Or in the one that QUEUE_URL names, if the service has the settings of the kit.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, ClassVar

from kpi_kit.errors import KitError, MissingExtraError
from kpi_kit.queue import Queue, QueueSchemaError
from kpi_kit.settings import KitSettings
from pydantic import BaseModel, SecretStr

from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseSettings, PartSettings


class _Request(BaseModel):
    """What standard input says. ``ids``: only these jobs."""

    limit: int = 100
    ids: list[int] | None = None


Work = Callable[[Queue, _Request], Awaitable[dict[str, Any]]]


async def _show(queue: Queue, _request: _Request) -> dict[str, Any]:
    return {"queues": [asdict(each) for each in await queue.status()]}


async def _list_failed(queue: Queue, request: _Request) -> dict[str, Any]:
    return {"jobs": [asdict(each) for each in await queue.failed(limit=request.limit)]}


async def _retry(queue: Queue, request: _Request) -> dict[str, Any]:
    return {"retried": await (queue.retry_all() if request.ids is None else queue.retry(*request.ids))}


async def _forget(queue: Queue, request: _Request) -> dict[str, Any]:
    return {"forgotten": await queue.forget(*request.ids or ())}


class QueueSettings(DatabaseSettings):
    queue_url: SecretStr | None = None


def settings_of(of: Part, service: type[PartSettings]) -> type[DatabaseSettings]:
    """Those of a migration; with QUEUE_URL if the service has the settings of the kit, and so reads it too."""

    class _Settings(QueueSettings if issubclass(service, KitSettings) else DatabaseSettings):  # type: ignore[misc]
        part: ClassVar[Part] = of

    return _Settings


_WORK: dict[str, Work] = {
    "show-queues": _show,
    "list-failed-jobs": _list_failed,
    "retry-failed-jobs": _retry,
    "forget-failed-jobs": _forget,
}


def run(part: Part, settings: DatabaseSettings, command: str) -> int:
    """Print the result of a command as JSON, or that the service has no queue."""
    request = _Request.model_validate_json(sys.stdin.buffer.read() or b"{}")
    try:
        result = asyncio.run(_run(settings, lambda queue: _WORK[command](queue, request)))
    except (QueueSchemaError, MissingExtraError) as error:
        result = {"missing": str(error)}
    except KitError as error:
        print(f"{part.program}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, default=_to_json))
    return 0


async def _run(settings: DatabaseSettings, work: Callable[[Queue], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    url = settings.queue_url if isinstance(settings, QueueSettings) else None
    async with Queue.from_url(url or settings.database_url) as queue:
        return await work(queue)


def _to_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
