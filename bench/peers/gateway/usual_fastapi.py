"""A gateway as it is usually written with FastAPI: one route around ``httpx.AsyncClient``, streaming both ways."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # One client for all requests, as httpx recommends, with its default pool.
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{os.environ['UPSTREAM']}", timeout=60) as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def forward(request: Request) -> StreamingResponse:
    client: httpx.AsyncClient = request.app.state.client
    url = httpx.URL(path=request.url.path, query=request.url.query.encode())
    body = request.stream() if request.method in {"POST", "PUT", "PATCH"} else None
    outgoing = client.build_request(request.method, url, headers=request.headers.raw, content=body)
    response = await client.send(outgoing, stream=True)
    return StreamingResponse(
        response.aiter_raw(),
        status_code=response.status_code,
        headers=dict(response.headers),
        background=BackgroundTask(response.aclose),
    )
