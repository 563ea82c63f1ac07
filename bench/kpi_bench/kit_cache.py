"""What `get` of the kit's cache costs over cashews called directly, on the same values in one process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from kpi_bench.harness import Measure, Rounds, figures, markdown_table, ratios, run_in_turn, spread, verdict
from kpi_bench.options import Options
from kpi_bench.processes import BenchError, Program, Server, free_port

# Of 300 bytes as JSON.
_VALUE = {"id": 7, "title": "x" * 40, "content": "y" * 200, "tags": ["a", "b"], "votes": 3, "published": True}
_BATCH = 200
_MOST = 1.15
_MEMORY, _JSON, _REDIS = "memory", "memory, as JSON", "Redis"
_CASHEWS, _KIT = "cashews: ", "the kit: "
Get = Callable[[], Awaitable[object]]


def run(options: Options) -> Rounds:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = Server(Program(command, folder=options.work), options.log("redis"))
    try:
        contenders: dict[str, Measure] = {
            _CASHEWS + _MEMORY: _measure(partial(_open_cashews, "mem://?size=1000")),
            _CASHEWS + _JSON: _measure(partial(_open_cashews, "mem://?size=1000&pickle_type=json")),
            _KIT + _MEMORY: _measure(partial(_open_kit, "memory://?size=1000")),
            _CASHEWS + _REDIS: _measure(partial(_open_cashews, f"redis://127.0.0.1:{port}/0?pickle_type=json")),
            _KIT + _REDIS: _measure(partial(_open_kit, f"redis://127.0.0.1:{port}/0")),
        }
        for measure in contenders.values():
            measure(0.2)
        return run_in_turn(contenders, options, what="cache.get")
    finally:
        server.kill()
        server.stop()


@asynccontextmanager
async def _open_cashews(url: str) -> AsyncIterator[Get]:
    from cashews import Cache  # noqa: PLC0415 as below

    cache = Cache()
    cache.setup(url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cache.close)
        await _wait_for_store(lambda: cache.set("post:7", _VALUE, expire=3600))
        yield lambda: cache.get("post:7")


@asynccontextmanager
async def _open_kit(url: str) -> AsyncIterator[Get]:
    # Imported here: the document is rendered where the benchmark's parts may not be installed.
    from kpi_kit.cache import Cache  # noqa: PLC0415

    async with Cache.from_url(url) as cache:
        await _wait_for_store(lambda: cache.put("post:7", _VALUE, ttl=3600))
        yield lambda: cache.get("post:7")


async def _wait_for_store(store: Callable[[], Awaitable[object]]) -> None:
    """The server may still be starting; cashews says false, and the kit raises an error."""
    for _ in range(200):
        try:
            if await store() is not False:
                return
        except Exception as error:  # noqa: BLE001 of either library
            last: object = error
        else:
            last = "nothing was stored"
        await asyncio.sleep(0.05)
    raise BenchError(f"the cache does not work: {last}")


def _measure(opener: Callable[[], Any]) -> Measure:
    return lambda seconds: asyncio.run(_run(opener, seconds))


async def _run(opener: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Microseconds of each call, one after the other: of the clock, and of this process's CPU."""
    async with opener() as get:
        if await get() != _VALUE:
            raise BenchError("the cache returned another value")
        calls, began, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            for _ in range(_BATCH):
                await get()
            calls += _BATCH
        return {
            "us": 1e6 * (time.perf_counter() - began) / calls,
            "cpu": 1e6 * (time.process_time() - cpu) / calls,
        }


def render(rounds: Rounds) -> str:
    head = ["`cache.get`", "us per call", "CPU of the process, us", "the kit : cashews", "target", ""]
    rows = [_render_row(name, rounds) for name in rounds]
    return f"{_TEXT}\n\n{markdown_table(head, rows)}"


def _render_row(name: str, rounds: Rounds) -> list[str]:
    cells = [name, *(spread(figures(rounds[name], figure), 2) for figure in ("us", "cpu"))]
    place = name.removeprefix(_KIT)
    if place == name:
        return [*cells, "", "", ""]
    found = ratios(figures(rounds[name], "us"), figures(rounds[_CASHEWS + place], "us"))
    return [*cells, spread(found, 2), f"at most {_MOST:g}", verdict(found, _MOST, most=True)]


_TEXT = """\
### The cache

The same object of 300 bytes of JSON, read again and again by one caller. cashews is called as its documentation shows,
in Redis with JSON in place of pickle. In memory it stores the object itself by default and gives it out to all, so that
what one caller changes in it changes for the others; the kit, which never does that, is compared with this faster way
all the same. It calls cashews' stores without the layers of middleware around them, and parses JSON by pydantic's
parser, which is why it is not slower."""
