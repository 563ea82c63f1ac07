"""Every log line of a request contains its id, in whatever task or thread it is written."""

import asyncio
import io
import json
import logging
import warnings

import httpx
import structlog
from kpi_shared.http.middleware import RequestContext
from kpi_shared.parts import Part
from kpi_shared.settings import PartSettings
from kpi_shared.telemetry.logging import configure_logging
from kpi_shared.telemetry.observation import Observation
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Some(PartSettings):
    part = Part(name="some", package="some", port=1)


async def log_everywhere(scope: Scope, receive: Receive, send: Send) -> None:
    log = structlog.get_logger("some")
    log.info("here")
    await asyncio.create_task(_log_in_task(log))
    await asyncio.to_thread(log.info, "thread")
    logging.getLogger("library").warning("library")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    await Response()(scope, receive, send)


async def _log_in_task(log: structlog.typing.FilteringBoundLogger) -> None:
    log.info("task")


async def test_lines_of_tasks_threads_and_libraries_contain_the_request_id() -> None:
    stream = io.StringIO()
    before = logging.getLogger().handlers
    # Another test may have enabled it, after which pytest captures warnings again.
    logging.captureWarnings(capture=False)
    configure_logging(part="some", level="INFO", form="json", stream=stream)
    context = RequestContext(log_everywhere, access_log=True, observation=Observation(Some(), version="0"))

    async def ask(name: str) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(context), base_url="http://some") as client:
            headers = {"X-Request-ID": name, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            await client.get("/", headers=headers)

    try:
        await asyncio.gather(ask("one"), ask("two"))
    finally:
        logging.getLogger().handlers = before
        logging.captureWarnings(capture=False)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    for name in ("one", "two"):
        mine = [line for line in lines if line.get("request_id") == name]
        assert {"here", "task", "thread", "library"} <= {line["event"] for line in mine}
        assert sum("careful" in line["event"] for line in mine) == 1
        assert {line["trace_id"] for line in mine} == {TRACE}
    assert {line["event"].partition(":")[0] for line in lines if "request_id" not in line} <= {"HTTP Request"}
