"""What happens to a whole server: its primary is replaced, its disk is full, or a part dies under ``make up``."""

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from kpi_cli import PRODUCT
from kpi_shared.testing.process import clean_environment, free_port

from kpi_drill.database import Server
from kpi_drill.http import get
from kpi_drill.load import API, Load
from kpi_drill.rows.database import judge_answers
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, seconds

_OBSERVED_SECONDS = 30.0
_FAULT_SECONDS = 10.0
_DISK_MEGABYTES = 400
_UP_SECONDS = 90.0
_PARTS = ("auth", "content", "gateway")


async def fail_over(stage: Stage) -> Verdict:
    """The primary becomes read-only and keeps its connections, and a standby takes its place.

    Commits wait for the standby, as they have to where none may be lost.
    """
    standby = Server(stage.folder / f"standby-{time.monotonic_ns()}")
    await asyncio.to_thread(standby.create_standby_of, stage.server)
    ports = (stage.server.port, standby.port)
    _configure(stage.server, "synchronous_standby_names = '*'")
    try:
        async with stage.platform(database_ports=lambda _: ports) as platform:
            async with stage.load(platform) as load:
                await load.settle()
                began = time.perf_counter()
                _configure(stage.server, "default_transaction_read_only = on")
                await asyncio.to_thread(standby.query, "postgres", "SELECT pg_promote()")
                healthy = await load.wait_until_healthy(_OBSERVED_SECONDS)
                unread = await _count_unread(load, began)
            losses = await stage.check(load, platform, standby)
    finally:
        stage.server.query("postgres", "ALTER SYSTEM RESET ALL")
        stage.server.query("postgres", "SELECT pg_reload_conf()")
        await asyncio.to_thread(standby.stop)
    recovery = load.recovery(began)
    verdict = judge_answers("failover", load.since(began, began + recovery + 0.1))
    back = f"healthy after {seconds(recovery)}" if healthy else f"not healthy for {seconds(_OBSERVED_SECONDS)}"
    stale = f", {unread} new posts cannot be read" if unread else ""
    return Verdict(f"{back}; {verdict.figure}{stale}; {losses}", healthy and not unread and losses.total == 0)


def _configure(server: Server, assignment: str) -> None:
    with server.connect() as connection:
        connection.execute(f"ALTER SYSTEM SET {assignment}".encode())
        connection.execute("SELECT pg_reload_conf()")


async def _count_unread(load: Load, began: float) -> int:
    """How many of the posts that were created since are not found, by any of the connections that read."""
    created = [
        int(one.reply.json()["id"]) for one in load.since(began) if one.kind == "create" and one.reply.status == 201
    ]
    replies = [await load.send_alone(get(f"{API}/posts/{number}")) for number in created[-10:] for _ in range(20)]
    return sum(reply.status != 200 for reply in replies)


async def fill_disk(stage: Stage) -> Verdict:
    """The disk of the database is full for 10 s."""
    with _small_disk(stage.folder / "small-disk") as folder:
        if folder is None:
            return Verdict("not run: it takes root and the right to mount a tmpfs", None)
        server = Server(folder / "home", "min_wal_size=32MB", "max_wal_size=64MB")
        try:
            await asyncio.to_thread(server.create)
            return await _fill_disk_of(stage, server, folder)
        finally:
            await asyncio.to_thread(server.stop)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    folder.mkdir()
    folder.chmod(0o755)
    options = f"size={_DISK_MEGABYTES}m,mode=0755"
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True)  # noqa: PLW1510 the system's own
    except OSError:
        mounted = None
    if mounted is None or mounted.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def _fill_disk_of(stage: Stage, server: Server, folder: Path) -> Verdict:
    async with stage.platform(server=server) as platform:
        async with stage.load(platform) as load:
            await load.settle()
            began = time.perf_counter()
            ballast = folder / "ballast"
            await asyncio.to_thread(_write_until_full, ballast)
            await _write_long_posts(load)
            ended = time.perf_counter()
            ballast.unlink()
            died = not server.is_running
            if died:
                # PostgreSQL stops when it cannot write its log; its supervisor starts it again.
                await asyncio.to_thread(server.start)
            healthy = await load.wait_until_healthy(_OBSERVED_SECONDS)
        losses = await stage.check(load, platform)
    verdict = judge_answers("writes", load.since(began, ended))
    figure = f"{verdict.figure}; {'PostgreSQL stopped' if died else 'PostgreSQL went on'}"
    back = f"healthy {seconds(max(0.0, load.recovery(ended)))} after there was space" if healthy else "not healthy"
    return Verdict(f"{figure}; {back}; {losses}", bool(verdict.kept) and healthy and losses.total == 0)


def _write_until_full(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1_000_000) if shutil.disk_usage(path).free > 1_000_000 else bytes(4096))


async def _write_long_posts(load: Load) -> None:
    """So that tables and their log need new pages."""
    until = time.monotonic() + _FAULT_SECONDS
    while time.monotonic() < until:
        await load.create_long_post()
        await asyncio.sleep(0.05)


class _LocalStack:
    """A ``kpi up`` with a state of its own."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "up.log"
        self._environment = clean_environment({"KPI_HOME": str(folder / "state"), "GATEWAY_PORT": str(free_port())})
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._log.parent.mkdir(parents=True)
        self._log.parent.chmod(0o755)
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kpi_cli", "up", env=self._environment, stdout=log, stderr=log
            )
        await self.wait_for(f"{PRODUCT} is up")

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", self._log.read_text())

    async def wait_for(self, sentence: str, count: int = 1) -> float:
        """Return how many seconds it took until the sentence was said so often."""
        began = time.monotonic()
        while self.text.count(sentence) < count:
            if time.monotonic() > began + _UP_SECONDS:
                raise RuntimeError(f"never said: {sentence}; the last lines: {self.text[-1000:]}")
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    def kill(self, part: str) -> None:
        """SIGKILL for a part of this stack, however it was started."""
        if self._process is None:
            return
        children = psutil.Process(self._process.pid).children(recursive=True)
        victim = next(child for child in children if f"kpi_{part}" in child.cmdline())
        victim.kill()

    async def wait_for_end(self) -> int | None:
        if self._process is None:
            return None
        async with asyncio.timeout(_UP_SECONDS):
            return await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
            await self._process.wait()


@asynccontextmanager
async def _local_stack(folder: Path) -> AsyncIterator[_LocalStack]:
    stack = _LocalStack(folder)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


async def kill_under_make_up(stage: Stage) -> Verdict:
    """Each part is killed once, and then one of them again and again."""
    async with _local_stack(stage.folder / f"up-{time.monotonic_ns()}") as stack:
        times = []
        for part in _PARTS:
            ready = stack.text.count(f"{part} is ready")
            stack.kill(part)
            times.append(await stack.wait_for(f"{part} is ready", ready + 1))
        for _ in range(2):
            ready = stack.text.count("content is ready")
            stack.kill("content")
            await stack.wait_for("content is ready", ready + 1)
        stack.kill("content")
        code = await stack.wait_for_end()
        reason = "content: it was killed by signal SIGKILL again, after 3 starts within 60 seconds, so the stack stops"
        stopped = code == 1 and reason in stack.text
    figure = f"ready within {seconds(max(times))}, {'the fourth death stops it and is named' if stopped else 'no end'}"
    return Verdict(figure, max(times) <= 3 and stopped)
