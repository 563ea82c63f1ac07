"""A program of one service: it notes which requests it began and which it completed. See test_frozen_process.py."""

import asyncio
import json
import sys
from urllib.parse import parse_qs

import uvicorn
from kpi_shared.server.options import uvicorn_options
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

TIMEOUT = 2.0
begun: list[str] = []
completed: list[str] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    if path == "/noted":
        await PlainTextResponse(json.dumps([begun, completed]))(scope, receive, send)
        return
    if path != "/health/live":
        begun.append(path)
        await Request(scope, receive).body()
        await _wait(parse_qs(scope["query_string"].decode()))
        completed.append(path)
    await PlainTextResponse("done")(scope, receive, send)


async def _wait(query: dict[str, list[str]]) -> None:
    """As long as the query says: some seconds, or for a byte from a port."""
    if "seconds" in query:
        await asyncio.sleep(float(query["seconds"][0]))
    if "port" in query:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(query["port"][0]))
        await reader.readexactly(1)
        writer.close()


if __name__ == "__main__":
    uvicorn.run(app, **uvicorn_options(port=int(sys.argv[2]), lifespan="off", request_timeout=TIMEOUT))
