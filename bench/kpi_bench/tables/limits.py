"""The CPU time that a request costs each part, compared with the least that it could cost."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kpi_bench import plots as plot
from kpi_bench.harness import Measure, Rounds, figures, markdown_table, ratios, run_in_turn, spread
from kpi_bench.options import BENCH, Options
from kpi_bench.platform_stack import Stack, run_stack
from kpi_bench.processes import SERVER_CORE, BenchError, Program, Server, free_port, pin, serve
from kpi_bench.tables.platform import OPERATIONS, Place, delete_writes, our_places
from kpi_bench.wrk import Wrk

NAME = "limits"
PARTS = ("gateway", "service", "PostgreSQL")
CONNECTIONS = 15
_LONGEST = 2.0
_NOTHING, _POOL, _PLAIN = "uvicorn alone", "uvicorn and psycopg's pool", "psycopg alone"
_HASH, _SIGN_IN = "argon2 alone", "POST /auth/login"
_HASHING = """
import sys, time
from argon2 import PasswordHasher
hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
known, done, end = hasher.hash("a password"), 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    hasher.verify(known, "a password")
    done += 1
print(done)
"""
# Returns the CPU seconds so far, by part.
CpuByPart = Callable[[], dict[str, float]]


def run(options: Options) -> dict[str, Any]:
    short = replace(options, seconds=min(options.seconds, _LONGEST))
    with run_stack(options) as stack, _run_floor(stack, options) as (url, server):
        contenders = {**_requests(stack), **_floors(stack, url, server), _HASH: measure_hashes}
        for measure in contenders.values():
            measure(1.0)
        return {"rounds": run_in_turn(contenders, short, what="CPU time")}


@contextmanager
def _run_floor(stack: Stack, options: Options) -> Iterator[tuple[str, Server]]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "kpi_bench.floor:app", "--port", str(port), "--no-access-log"]
    url = f"http://127.0.0.1:{port}"
    with serve(Program(command, _environment(stack)), options.log("floor"), ready=f"{url}/nothing") as server:
        yield url, server


def _environment(stack: Stack) -> dict[str, str]:
    return {"PYTHONPATH": str(BENCH), "FLOOR_DATABASE_URL": stack.database.url("content", Stack.CONTENT)}


def _requests(stack: Stack) -> dict[str, Measure]:
    places = our_places(stack)
    gateway = next(iter(places.values()))
    return {name: partial(_measure_request, stack, gateway, name) for name in OPERATIONS}


def _measure_request(stack: Stack, place: Place, name: str, seconds: float) -> dict[str, float]:
    url, wrk = OPERATIONS[name](place)
    service = stack.servers["auth" if "/auth/" in name else "content"]

    def cpu_by_part() -> dict[str, float]:
        servers = (stack.servers["gateway"], service, stack.database.running_server)
        return {part: server.cpu_seconds() for part, server in zip(PARTS, servers, strict=True)}

    found = _per_request(cpu_by_part, lambda: _run_wrk(wrk, url, seconds))
    stack.database.wait_until_idle()
    delete_writes(stack.database, place.accounts)
    return found


def _run_wrk(wrk: Wrk, url: str, seconds: float) -> tuple[float, int]:
    load = wrk.run(url, seconds)
    if load.errors:
        raise BenchError(f"{url}: {load.errors} of {load.requests} requests failed")
    return load.rate, load.requests


def _per_request(cpu_by_part: CpuByPart, work: Callable[[], tuple[float, int]]) -> dict[str, float]:
    """CPU microseconds of a request by part, and the requests per second."""
    before = cpu_by_part()
    rate, requests = work()
    after = cpu_by_part()
    spent = {part: (after[part] - before[part]) / max(1, requests) * 1e6 for part in before}
    return {"rate": rate, **spent}


def _floors(stack: Stack, url: str, server: Server) -> dict[str, Measure]:
    def cpu_by_part() -> dict[str, float]:
        return {"service": server.cpu_seconds(), "PostgreSQL": stack.database.running_server.cpu_seconds()}

    posts = Wrk(CONNECTIONS, script=BENCH / "kpi_bench" / "lua" / "each_post.lua")
    return {
        _NOTHING: lambda seconds: _per_request(
            cpu_by_part, lambda: _run_wrk(Wrk(CONNECTIONS), f"{url}/nothing", seconds)
        ),
        _POOL: lambda seconds: _per_request(cpu_by_part, lambda: _run_wrk(posts, url, seconds)),
        _PLAIN: partial(_measure_statements, stack),
    }


def _measure_statements(stack: Stack, seconds: float) -> dict[str, float]:
    """Measure in a process of its own; the CPU time of its start is subtracted."""
    start, _ = _run_child([sys.executable, "-m", "kpi_bench.floor", "0"], _environment(stack))
    command = [sys.executable, "-m", "kpi_bench.floor", str(seconds)]
    before = stack.database.running_server.cpu_seconds()
    spent, done = _run_child(command, _environment(stack))
    server = stack.database.running_server.cpu_seconds() - before
    each = 1e6 / max(1, done)
    return {"rate": done / seconds, "service": (spent - start) * each, "PostgreSQL": server * each}


def measure_hashes(seconds: float) -> dict[str, float]:
    start, _ = _run_child([sys.executable, "-c", _HASHING, "0"], {})
    spent, done = _run_child([sys.executable, "-c", _HASHING, str(seconds)], {})
    return {"rate": done / seconds, "service": (spent - start) / max(1, done) * 1e6}


def _run_child(command: list[str], environment: Mapping[str, str]) -> tuple[float, int]:
    """Run a program on the servers' core; return its CPU seconds and the number that it printed."""
    before = os.times()
    result = subprocess.run(
        pin(command, SERVER_CORE), env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, int(result.stdout)


def render(results: dict[str, Any], plots: Path) -> str:
    rounds: Rounds = results["rounds"]
    head = ["", *(f"{part}, µs" for part in PARTS), "together, µs", "requests/s"]
    rows = [_row(name, found) for name, found in rounds.items()]
    _plot(rounds, plots)
    parts = [
        _TEXT,
        markdown_table(head, rows),
        "![CPU microseconds for each request](performance/limits.svg)",
        _hash_summary(figures(rounds[_SIGN_IN], "rate"), figures(rounds[_HASH], "rate")),
    ]
    return "\n\n".join(parts)


def _hash_summary(sign_ins: list[float], hashes: list[float]) -> str:
    return (
        f"A core that does nothing else hashes {spread(hashes, 1)} passwords a second; through the gateway there are "
        f"{spread(sign_ins, 1)} sign-ins a second, which is {spread(ratios(sign_ins, hashes), 2)} of that."
    )


def _row(name: str, found: list[dict[str, float]]) -> list[str]:
    parts = [spread(figures(found, part)) if part in found[0] else "" for part in PARTS]
    whole = [sum(one.get(part, 0.0) for part in PARTS) for one in found]
    return [
        f"`{name}`" if name in OPERATIONS else name,
        *parts,
        spread(whole),
        spread(figures(found, "rate")),
    ]


def _plot(rounds: Mapping[str, Any], folder: Path) -> None:
    values = {}
    for name, found in rounds.items():
        whole = sorted(sum(one.get(part, 0.0) for part in PARTS) for one in found)
        # A hash takes so long that the other bars would not be visible.
        if name not in {_SIGN_IN, _HASH}:
            values[name] = (whole[len(whole) // 2], whole[0], whole[-1])
    plot.bars(folder / "limits.svg", values, unit="CPU microseconds", ours=list(OPERATIONS))


_TEXT = """\
## Limits

Where the CPU time goes: that of each part's processes (`/proc/PID/stat`) during a run through the gateway at
saturation, divided by the number of requests. The last rows are the lower bounds for a read by id: uvicorn alone with a
bare ASGI application that responds with a constant; the same with the statement by psycopg's own pool and the row as
JSON; and the statement by one psycopg connection, without HTTP. The difference is what could still be gained."""
