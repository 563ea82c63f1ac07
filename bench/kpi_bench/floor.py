"""The least that a response can cost in Python: one statement by psycopg, with no framework.

It is an ASGI application (``/nothing`` responds without a database, any other path with a post, by psycopg's pool), and
``python -m kpi_bench.floor SECONDS``, which uses no HTTP either and prints how many statements it ran. Both take the
database from FLOOR_DATABASE_URL.
"""

import asyncio
import os
import sys
import time
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic_core import to_json

POSTS = 20_100
SQL = """
    SELECT posts.id, title, content, published, date, updated_at, votes, owner_id, username
    FROM posts JOIN authors ON authors.id = owner_id
    WHERE posts.id = %s AND published
"""
_HEADERS = [(b"content-type", b"application/json")]


class Floor:
    """A minimal ASGI application."""

    def __init__(self) -> None:
        self._pool: AsyncConnectionPool[Any] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 ASGI's
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        path: str = scope["path"]
        body = b'{"status":"ok"}' if path == "/nothing" else await self._read_post(int(path.rpartition("/")[2]))
        headers = [*_HEADERS, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _run_lifespan(self, receive: Any, send: Any) -> None:  # noqa: ANN401 as above
        await receive()
        settings = {"autocommit": True, "row_factory": dict_row}
        async with AsyncConnectionPool(os.environ["FLOOR_DATABASE_URL"], min_size=5, kwargs=settings) as self._pool:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _read_post(self, post_id: int) -> bytes:
        assert self._pool is not None  # noqa: S101 the lifespan comes first
        async with self._pool.connection() as connection:
            row = await (await connection.execute(SQL, [post_id])).fetchone()
        return to_json(row)


app = Floor()


async def run_statements(seconds: float) -> int:
    done = 0
    connection = await psycopg.AsyncConnection.connect(
        os.environ["FLOOR_DATABASE_URL"], autocommit=True, row_factory=dict_row
    )
    async with connection:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            await (await connection.execute(SQL, [done % POSTS + 1])).fetchone()
            done += 1
    return done


if __name__ == "__main__":
    print(asyncio.run(run_statements(float(sys.argv[1]))))
