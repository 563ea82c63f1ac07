"""``kpi up``: starts the whole stack, follows its logs, and stops it."""

import asyncio
import http.client
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.parts import PARTS, WITH_DATABASE, Part, get_or_raise
from kpi_cli.stack import databases, environments, migrations, postgres, preparation, processes, requests, state
from kpi_cli.stack.ports import HOST, Ports, choose
from kpi_cli.stack.restarts import PAUSES, WINDOW_SECONDS, Restarts
from kpi_cli.stack.state import Phase, State
from kpi_cli.stack.supervisor import Child, Supervisor, describe_end, end_failure
from kpi_cli.stack.terminal import LogView

READY_SECONDS = 60
REQUEST_SECONDS = 0.5
_TOO_OFTEN = f"after {len(PAUSES)} starts within {WINDOW_SECONDS:g} seconds"
OnReady = Callable[[State, float], None]


class StopRequestedError(Exception):
    """The stack has been asked to stop: by Ctrl-C, SIGTERM, or a closed terminal."""


def run(layout: Layout, port: int | None, view: LogView, on_ready: OnReady) -> None:
    """Run the stack until it is asked to stop; raises FailureError when it ends in any other way."""
    began = time.monotonic()
    with state.hold(layout):
        preparation.prepare(layout, view.report)
        for name in environments.ignored_variables():
            view.report(f"{name} in your shell is ignored: the local stack has its own")
        ports, notice = choose(layout, port)
        if notice:
            view.report(notice)
        state.write(layout, Phase.STARTING, ports)
        with suppress(StopRequestedError):
            asyncio.run(_run_stack(layout, ports, view, lambda now: on_ready(now, time.monotonic() - began)))


async def _run_stack(layout: Layout, ports: Ports, view: LogView, on_ready: Callable[[State], None]) -> None:
    await Stack(layout, ports, view).run(on_ready)


class Stack:
    """One run of a stack, from the first process to the last."""

    def __init__(self, layout: Layout, ports: Ports, view: LogView) -> None:
        self._layout = layout
        self._ports = ports
        self._view = view
        self._programs = environments.programs(layout, ports)
        self._supervisor = Supervisor(layout.logs, view.print_line)
        self._stop_requested = asyncio.Event()
        self._restarts = Restarts()
        self._restarting: dict[str, asyncio.Task[None]] = {}

    async def run(self, on_ready: Callable[[State], None]) -> None:
        """Start, call ``on_ready``, keep all running until a stop is requested or a part fails; then stop all."""
        self._handle_signals()
        try:
            await self._run_until_stop(self._start_or_fail())
            on_ready(self._write_state(Phase.READY))
            self._view.follow()
            await self._run_until_stop(self._keep_running())
        finally:
            with suppress(OSError):
                # The processes are stopped even when the disk is full.
                self._write_state(Phase.STOPPING)
            await self._stop()
            # The loop ends here, and there is nothing left that a closed output could stop.
            self._view.on_closed(lambda: None)

    def _write_state(self, phase: Phase) -> State:
        return state.write(self._layout, phase, self._ports, environments.describe_mail(self._layout))

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        self._view.on_closed(lambda: _call_soon(loop, self._stop_requested.set))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._request_stop)

    def _request_stop(self) -> None:
        if self._stop_requested.is_set():
            self._supervisor.skip_grace()
        self._stop_requested.set()

    async def _run_until_stop(self, work: Coroutine[None, None, Any]) -> None:
        """Do the work, but leave it at once when a stop is requested."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop_requested.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                raise StopRequestedError
            await task
        finally:
            for each in (task, stop):
                each.cancel()
            with suppress(asyncio.CancelledError, FailureError):
                await task

    async def _start_or_fail(self) -> None:
        """Start everything. A part that ends before all is ready cannot run with its settings: it is not repeated."""
        start = asyncio.create_task(self._start())
        end = asyncio.create_task(self._supervisor.ends.get())
        try:
            await asyncio.wait({start, end}, return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                raise self._failure_of(end.result())
            await start
        finally:
            for each in (start, end):
                each.cancel()
            with suppress(asyncio.CancelledError, FailureError):
                await start

    async def _keep_running(self) -> None:
        """Start again what ends on its own; raises FailureError when that happens too often."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_requests())
                while True:
                    child = await self._supervisor.ends.get()
                    pause = self._restarts.take_pause(child.name, time.monotonic())
                    if pause is None:
                        raise self._failure_of(child, after=f" again, {_TOO_OFTEN}")
                    if child.name in self._restarting:
                        self._restarting[child.name].cancel()
                    self._restarting[child.name] = group.create_task(self._restart(child, pause))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _follow_requests(self) -> None:
        """Start parts again whose code another command has changed, after their migrations."""
        requests.clear(self._layout)
        while True:
            await asyncio.sleep(REQUEST_SECONDS)
            if not self._restarting and (names := requests.read(self._layout)):
                self._write_state(Phase.STARTING)
                requests.clear(self._layout)
                for part in [part for part in PARTS if part.name in names]:
                    await self._replace(part)
                if not self._restarting:
                    self._write_state(Phase.READY)

    async def _replace(self, part: Part) -> None:
        self._view.report(f"{part.name} is started again with its new code")
        try:
            await self._migrate_if_needed(part)
        except FailureError as failure:
            # It goes on with its old code.
            for line in failure.lines():
                self._view.report(line.removeprefix("kpi: "))
            return
        await self._supervisor.stop(part.name)
        await self._start_part(part, again=True)
        await self._wait_until_ready(part)

    async def _restart(self, child: Child, pause: float) -> None:
        self._view.report(f"{child.name} {describe_end(child)}: it is started again in {pause:g} s")
        self._write_state(Phase.STARTING)
        await asyncio.sleep(pause)
        if child.name == "postgres":
            await asyncio.to_thread(processes.wait_for_backends, self._layout.data)
            await self._start_database(again=True)
            self._view.report("postgres is ready")
        else:
            part = get_or_raise(child.name)
            await self._start_part(part, again=True)
            await self._wait_until_ready(part)
        del self._restarting[child.name]
        if not self._restarting:
            self._write_state(Phase.READY)

    def _failure_of(self, child: Child, *, after: str = "") -> FailureError:
        log = self._layout.logs / f"{child.name}.log"
        if child.name == "postgres":
            sentence = f"it stopped on its own{after}, so the stack stops"
            return postgres.failure(self._layout, sentence, list(child.tail), log)
        return end_failure(child, self._layout.shorten(log), after=after)

    async def _start(self) -> None:
        # A part without a database imports its modules while the database starts.
        independent = [part for part in PARTS if not part.has_database]
        for part in independent:
            await self._start_part(part)
        await self._start_database()
        try:
            # When one fails the group cancels the others, so that none starts a process after the stop.
            async with asyncio.TaskGroup() as group:
                for part in independent:
                    group.create_task(self._wait_until_ready(part))
                for part in WITH_DATABASE:
                    group.create_task(self._start_with_database(part))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _start_database(self, *, again: bool = False) -> None:
        account = await asyncio.to_thread(postgres.prepare_account, self._layout, self._view.report)
        if await asyncio.to_thread(postgres.initialise, self._layout, account):
            self._view.report(f"created the data of PostgreSQL in {self._layout.shorten(self._layout.data)}")
        port = self._ports.postgres
        server = await self._supervisor.start(
            "postgres", postgres.command(self._layout, port), postgres.environment(), account, again=again
        )
        await asyncio.to_thread(postgres.wait_until_ready, self._layout, port, lambda: server.is_alive)
        if server.is_alive:
            await asyncio.to_thread(databases.prepare, self._layout, port)

    async def _start_with_database(self, part: Part) -> None:
        await self._migrate_if_needed(part)
        await self._start_part(part)
        await self._wait_until_ready(part)

    async def _migrate_if_needed(self, part: Part) -> None:
        port = self._ports.postgres
        if part.has_database and not await asyncio.to_thread(migrations.is_current, self._layout, port, part):
            await self._migrate(part)

    async def _migrate(self, part: Part) -> None:
        environment = self._programs[part.name].environment
        migration = await self._supervisor.run(part.name, part.command("migrate"), environment)
        if migration.process.returncode:
            raise FailureError(
                part.name,
                f"its migrations ended with exit code {migration.process.returncode}",
                log=list(migration.tail),
                fix=f"run them alone: {KPI} migrate {part.name}",
            )
        migrations.remember(self._layout, self._ports.postgres, part)

    async def _start_part(self, part: Part, *, again: bool = False) -> None:
        program = self._programs[part.name]
        await self._supervisor.start(part.name, program.command, program.environment, again=again)

    async def _wait_until_ready(self, part: Part) -> None:
        end = time.monotonic() + READY_SECONDS
        while problem := await asyncio.to_thread(_readiness_problem, self._ports.of(part)):
            if time.monotonic() > end:
                log = self._layout.shorten(self._layout.logs / f"{part.name}.log")
                raise FailureError(
                    part.name, f"not ready after {READY_SECONDS} seconds: /health/ready {problem}", fix=f"see {log}"
                )
            await asyncio.sleep(0.05)
        self._view.report(f"{part.name} is ready")

    async def _stop(self) -> None:
        self._view.unfollow()
        self._view.report("stopping")
        for part in reversed(PARTS):
            await self._stop_process(part.name, signal.SIGTERM)
        # SIGINT is PostgreSQL's fast shutdown: it disconnects its clients and writes a checkpoint.
        await self._stop_process("postgres", signal.SIGINT)
        self._view.report("stopped")

    async def _stop_process(self, name: str, number: signal.Signals) -> None:
        ended = await self._supervisor.stop(name, number)
        if ended is not None:
            self._view.report(f"{name} {ended}")


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(callback)


def _readiness_problem(port: int) -> str:
    """Why a part is not ready yet; empty when it is."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return "does not respond"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"responds with {status}"
