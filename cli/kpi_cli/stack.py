"""``kpi up``: brings the whole stack up, follows its logs, and takes it down again."""

import asyncio
import http.client
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from kpi_cli import databases, found_keys, keys, libsodium, migrations, parts, postgres, processes, state, vault
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.ports import HOST, Ports, choose
from kpi_cli.state import Phase, State
from kpi_cli.supervisor import Child, Supervisor, death
from kpi_cli.terminal import LogView

READY_SECONDS = 60
Tell = Callable[[str], None]
OnReady = Callable[[State, float], None]


class StopRequestedError(Exception):
    """Someone asked the stack to stop: Ctrl-C, a SIGTERM, a terminal that was closed."""


def prepare(layout: Layout, tell: Tell) -> None:
    """All that has to be true before the first process starts; for the holder of the checkout's lock."""
    libsodium.ensure()
    for folder in (layout.logs, layout.mails):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    recover(layout, tell)
    postgres.check_data(layout)
    _check_key(layout)
    made = vault.ensure(layout.secrets)
    if made:
        tell(f"made {', '.join(made)} in {layout.show(layout.secrets)}")


def _check_key(layout: Layout) -> None:
    for where, key, fix in found_keys.of_stack(layout):
        # An empty file is as good as none: the vault fills it.
        problem = keys.problem(key) if key else ""
        if problem:
            raise FailureError("key", f"{where}: {problem}", fix=fix)


def recover(layout: Layout, tell: Tell) -> None:
    """Stop what a killed supervisor of this checkout left running."""
    orphans = processes.end_orphans(layout.home)
    with suppress(PermissionError):
        # A data directory of another user is answered by postgres.check_data.
        orphans += processes.end_postmaster(layout.data)
    if orphans:
        tell(f"the last run was killed; processes that it left behind and that are stopped now: {orphans}")


def up(layout: Layout, port: int | None, view: LogView, on_ready: OnReady) -> None:
    """Run the stack until someone stops it; raises FailureError when it ends in any other way."""
    begun = time.monotonic()
    with state.hold(layout):
        prepare(layout, view.tell)
        for name in parts.ignored():
            view.tell(f"{name} of your shell is ignored: the local stack has its own")
        ports, said = choose(layout, port)
        if said:
            view.tell(said)
        state.write(layout, Phase.STARTING, ports)
        with suppress(StopRequestedError):
            asyncio.run(_live(layout, ports, view, lambda now: on_ready(now, time.monotonic() - begun)))


async def _live(layout: Layout, ports: Ports, view: LogView, on_ready: Callable[[State], None]) -> None:
    await Stack(layout, ports, view).live(on_ready)


class Stack:
    """One life of a stack, from the first process to the last."""

    def __init__(self, layout: Layout, ports: Ports, view: LogView) -> None:
        self._layout = layout
        self._ports = ports
        self._view = view
        self._programs = parts.programs(layout, ports)
        self._supervisor = Supervisor(layout.logs, view.line)
        self._stop_requested = asyncio.Event()

    async def live(self, on_ready: Callable[[State], None]) -> None:
        """Start, call ``on_ready``, stay until a stop is asked for or a part dies; then stop everything."""
        self._listen_to_signals()
        try:
            await self._unless_it_ends(self._start())
            on_ready(state.write(self._layout, Phase.READY, self._ports))
            self._view.follow()
            await self._unless_it_ends(asyncio.Event().wait())
        finally:
            with suppress(OSError):
                # A full disk must not keep the processes from being stopped.
                state.write(self._layout, Phase.STOPPING, self._ports)
            await self._stop()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        self._view.on_closed = self._stop_requested.set
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._request_stop)

    def _request_stop(self) -> None:
        if self._stop_requested.is_set():
            self._supervisor.hurry()
        self._stop_requested.set()

    async def _unless_it_ends(self, work: Coroutine[None, None, Any]) -> None:
        """Do the work, but leave it at once for a stop or the death of a part."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop_requested.wait())
        try:
            await asyncio.wait({task, stop, self._supervisor.died}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                raise StopRequestedError
            if self._supervisor.died.done():
                raise self._explain(self._supervisor.died.result())
            await task
        finally:
            for each in (task, stop):
                each.cancel()
            with suppress(asyncio.CancelledError, FailureError):
                await task

    def _explain(self, child: Child) -> FailureError:
        return (
            postgres.failed(self._layout, "it stopped on its own, so the stack stops", list(child.tail))
            if child.name == "postgres"
            else death(child, self._layout.show(self._layout.logs / f"{child.name}.log"))
        )

    async def _start(self) -> None:
        # The gateway needs no database, so its imports go on while that one starts.
        await self._start_part("gateway")
        await self._start_database()
        try:
            # When one fails the group cancels the others, so that none starts a process behind the stop's back.
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ready("gateway"))
                for service in parts.SERVICES:
                    group.create_task(self._start_service(service))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _start_database(self) -> None:
        account = await asyncio.to_thread(postgres.account, self._layout)
        if await asyncio.to_thread(postgres.initialise, self._layout, account):
            self._view.tell(f"made a database server's data in {self._layout.show(self._layout.data)}")
        port = self._ports.postgres
        server = await self._supervisor.start(
            "postgres", postgres.command(self._layout, port), postgres.environment(), account
        )
        await asyncio.to_thread(postgres.wait_until_ready, self._layout, port, lambda: server.alive)
        if server.alive:
            await asyncio.to_thread(databases.prepare, self._layout, port)

    async def _start_service(self, name: str) -> None:
        if not await asyncio.to_thread(migrations.is_done, self._layout, self._ports.postgres, name):
            await self._migrate(name)
        await self._start_part(name)
        await self._ready(name)

    async def _migrate(self, name: str) -> None:
        migration = await self._supervisor.run(name, parts.command(name, "migrate"), self._programs[name].environment)
        if migration.process.returncode:
            raise FailureError(
                name,
                f"its migrations ended with exit code {migration.process.returncode}",
                log=list(migration.tail),
                fix=f"run them alone: {KPI} migrate {name}",
            )
        migrations.remember(self._layout, self._ports.postgres, name)

    async def _start_part(self, name: str) -> None:
        program = self._programs[name]
        await self._supervisor.start(name, program.command, program.environment)

    async def _ready(self, name: str) -> None:
        end = time.monotonic() + READY_SECONDS
        while answer := await asyncio.to_thread(_not_ready, self._programs[name].port):
            if time.monotonic() > end:
                log = self._layout.show(self._layout.logs / f"{name}.log")
                raise FailureError(
                    name, f"not ready after {READY_SECONDS} seconds: /health/ready {answer}", fix=f"see {log}"
                )
            await asyncio.sleep(0.05)
        self._view.tell(f"{name} is ready")

    async def _stop(self) -> None:
        self._view.tell("stopping")
        for name in ("gateway", "content", "auth"):
            await self._supervisor.stop(name)
        # SIGINT is PostgreSQL's fast shutdown: it sends its clients away and writes everything down.
        await self._supervisor.stop("postgres", signal.SIGINT)
        self._view.tell("stopped")


def _not_ready(port: int) -> str:
    """Why a part is not ready yet; empty when it is."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return "does not answer"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"answers {status}"
