"""The gateway as a program."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
from gateway_support import Echo, Wire, closed_port, responding, serving
from starlette.requests import Request
from starlette.responses import Response

# What an image of the gateway does not have.
ABSENT = ("sqlalchemy", "sqlmodel", "psycopg", "alembic", "kpi_auth", "kpi_content", "pytest", "limits")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@asynccontextmanager
async def program(**environment: str) -> AsyncIterator[tuple[Process, str]]:
    """``python -m kpi_gateway``, once it responses; yields the process and its address."""
    address = closed_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kpi_gateway", "--port", str(urlsplit(address).port)),
        env=os.environ | environment,
        stdout=PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            while b"Uvicorn running" not in await process.stdout.readline():
                assert process.returncode is None
        yield process, address
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def test_the_gateway_starts_without_the_libraries_of_the_services() -> None:
    script = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
import kpi_gateway.__main__
import kpi_gateway.asgi
import kpi_gateway.console
import kpi_gateway.limits.redis
"""
    done = run("-c", script)
    assert done.returncode == 0, done.stderr


COLLECTION = """
import gc
from kpi_gateway.__main__ import PART, GatewaySettings, main
print(gc.isenabled())
main(PART, GatewaySettings, ["check"])
print(gc.isenabled())
gc.disable()
from kpi_shared.server.options import freeze_garbage_collector
freeze_garbage_collector()
print(gc.isenabled())
"""


def test_garbage_is_not_collected_during_imports_and_is_after_them() -> None:
    """By the command that runs, or by the application once it has started."""
    done = run("-c", COLLECTION)
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-2], lines[-1]) == ("False", "True", "True"), done.stderr


def test_check_reports_that_all_is_well() -> None:
    done = run("-m", "kpi_gateway", "check")
    report = json.loads(done.stdout)
    assert (done.returncode, report["part"], report["ok"]) == (0, "gateway", True)


def test_check_reports_what_is_wrong() -> None:
    done = run("-m", "kpi_gateway", "check", CORS_ORIGINS="*")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (1, False)
    assert "CORS_ORIGINS" in report["findings"][0]["detail"]


def test_invalid_settings_are_reported_in_one_sentence() -> None:
    done = run("-m", "kpi_gateway", CORS_ORIGINS="*")
    assert done.returncode == 78
    assert done.stderr == "kpi-gateway: CORS_ORIGINS: '*' cannot be combined with credentials; name the origins\n"


def test_the_gateway_has_no_migrate_command() -> None:
    done = run("-m", "kpi_gateway", "migrate")
    assert done.returncode == 2
    assert "invalid choice: 'migrate'" in done.stderr


async def _wait_until_closed(address: str) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                async with await Wire.to(address):
                    await asyncio.sleep(0.02)
            except ConnectionRefusedError:
                return


async def test_a_request_in_flight_is_completed_at_shutdown() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def respond(_request: Request) -> Response:
        entered.set()
        await release.wait()
        return Response("answered")

    async with (
        serving(responding(respond)) as upstream,
        program(CONTENT_URL=upstream) as (process, address),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        in_flight = asyncio.create_task(client.get(f"{address}/posts"))
        await entered.wait()
        process.send_signal(signal.SIGTERM)
        await _wait_until_closed(address)
        release.set()
        assert (await in_flight).text == "answered"
        async with asyncio.timeout(5):
            await process.wait()


async def test_shutdown_does_not_wait_forever_for_an_upstream() -> None:
    entered = asyncio.Event()

    async def respond(_request: Request) -> Response:
        entered.set()
        await asyncio.Event().wait()
        return Response()

    async with (
        serving(responding(respond)) as upstream,
        program(CONTENT_URL=upstream, SHUTDOWN_SECONDS="2") as (process, address),
        await Wire.to(address) as wire,
    ):
        await wire.send(b"GET /posts HTTP/1.1\r\nHost: a\r\n\r\n")
        await entered.wait()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            await process.wait()


async def test_responses_and_log_lines_have_the_request_id() -> None:
    echo = Echo()
    async with (
        serving(echo) as upstream,
        program(AUTH_URL=closed_port(), CONTENT_URL=upstream) as (process, address),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.post(f"{address}/api/v1/posts?x=%2F", json={"title": "t"})
        await client.get(f"{address}/auth/me", headers={"X-Request-ID": "find-me-1"})
        assert process.stdout is not None
        async with asyncio.timeout(5):
            line = json.loads(await process.stdout.readline())
    assert response.status_code == 200
    assert "server" not in response.headers
    assert echo.seen[0]["query"] == "x=%2F"
    assert (line["request_id"], line["part"], line["upstream"]) == ("find-me-1", "kpi-gateway", "auth")
    assert line["event"] == "upstream failed"
