"""Runs the processes of a stack: starts them, reads their output, notices when one ends, stops them."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from kpi_cli.errors import FailureError
from kpi_cli.stack.postgres import SystemUser
from kpi_cli.stack.terminal import strip_colours

Output = Callable[[str, str], None]

TAIL_LINES = 10
LINE_BYTES = 1024 * 1024
# Longer than a part waits for the requests in flight.
GRACE_SECONDS = 15


@dataclass
class Child:
    """A process of the stack. ``tail`` holds its last lines; ``is_stopping`` is set once it is expected to end."""

    name: str
    process: asyncio.subprocess.Process
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    is_stopping: bool = False
    reader: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None


class Supervisor:
    """The processes of one stack, each the leader of a session of its own.

    The terminal's Ctrl-C therefore reaches the supervisor only, which can then stop them in order.
    """

    def __init__(self, logs: Path, output: Output) -> None:
        self._logs = logs
        self._output = output
        self._children: list[Child] = []
        self._watchers: set[asyncio.Task[None]] = set()
        self._impatient = asyncio.Event()
        # Processes that ended without being stopped, in that order.
        self.ends: asyncio.Queue[Child] = asyncio.Queue()

    async def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        account: SystemUser | None = None,
        *,
        again: bool = False,
    ) -> Child:
        """Start a process that runs until it is stopped; if it ends earlier, ``ends`` gets it.

        One that is started ``again`` goes on with the log of the process in whose place it is.
        """
        child = await self._spawn(name, command, environment, account or SystemUser(), rotate_log=not again)
        self._children.append(child)
        watcher = asyncio.create_task(self._watch(child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return child

    async def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Run a process to its end and return it; the caller checks its exit code."""
        child = await self._spawn(name, command, environment, SystemUser(), rotate_log=False)
        child.is_stopping = True
        self._children.append(child)
        await self._wait_for_end(child)
        self._children.remove(child)
        return child

    async def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> str | None:
        """Stop every process of that name: by the signal, and by SIGKILL when it does not end in time.

        Returns how they ended, ``stopped`` or ``killed``, or None if none of them was running.
        """
        running = [child for child in self._children if child.name == name and child.is_alive]
        async with asyncio.TaskGroup() as group:
            for child in [child for child in self._children if child.name == name]:
                group.create_task(self._stop(child, number))
        if not running:
            return None
        return "killed" if any(child.process.returncode == -signal.SIGKILL for child in running) else "stopped"

    def skip_grace(self) -> None:
        """Kill parts that are stopping without waiting any longer, as after a second Ctrl-C."""
        self._impatient.set()

    async def _spawn(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        account: SystemUser,
        *,
        rotate_log: bool,
    ) -> Child:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES,
            start_new_session=True,
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
        )
        child = Child(name, process)
        child.reader = asyncio.create_task(self._read(child, self._open_log(name, rotate=rotate_log)))
        return child

    def _open_log(self, name: str, *, rotate: bool) -> BinaryIO:
        path = self._logs / f"{name}.log"
        if rotate and path.exists():
            path.replace(path.with_suffix(".log.1"))
        # Unbuffered: what a full disk refused must not be written again when the file is closed.
        return path.open("ab", buffering=0)

    async def _read(self, child: Child, log: BinaryIO) -> None:
        output = child.process.stdout
        with contextlib.closing(log):
            while output is not None:
                try:
                    line = await output.readline()
                except ValueError:
                    # The line was longer than LINE_BYTES, and asyncio has dropped it; go on with the next one.
                    continue
                if not line:
                    return
                self._record(child, line.decode("utf-8", "replace").rstrip("\r\n"), log)

    def _record(self, child: Child, line: str, log: BinaryIO) -> None:
        child.tail.append(strip_colours(line))
        with contextlib.suppress(OSError):
            # With a full disk the stack goes on, and its log file lacks this line.
            log.write(strip_colours(line).encode() + b"\n")
        self._output(child.name, line)

    async def _watch(self, child: Child) -> None:
        await self._wait_for_end(child)
        if not child.is_stopping:
            # What it has started itself would keep its port.
            self._send(child, signal.SIGKILL, group=True)
            self._children.remove(child)
            self.ends.put_nowait(child)

    async def _wait_for_end(self, child: Child) -> None:
        await child.process.wait()
        if child.reader is not None:
            # A grandchild may keep the pipe open; the part's own output has been read by then.
            await asyncio.wait([child.reader], timeout=1)

    async def _stop(self, child: Child, number: signal.Signals) -> None:
        child.is_stopping = True
        if child.is_alive:
            # PostgreSQL signals its own children; the workers of the parts get the signal through their group.
            self._send(child, number, group=number is not signal.SIGINT)
            await self._wait_for_grace(child, patient=number is signal.SIGINT)
        if child.is_alive:
            self._send(child, signal.SIGKILL, group=True)
        await self._wait_for_end(child)

    async def _wait_for_grace(self, child: Child, *, patient: bool) -> None:
        ended = asyncio.create_task(child.process.wait())
        # A killed database has to recover at the next start, so it always gets its whole grace period.
        impatient = asyncio.create_task(asyncio.Event().wait() if patient else self._impatient.wait())
        await asyncio.wait({ended, impatient}, timeout=GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, impatient):
            task.cancel()

    @staticmethod
    def _send(child: Child, number: signal.Signals, *, group: bool) -> None:
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(child.process.pid, number)
            else:
                child.process.send_signal(number)


def describe_end(child: Child) -> str:
    """How a process ended: ``was killed by signal SIGKILL``."""
    code = child.process.returncode or 0
    if code < 0:
        return f"was killed by signal {signal.Signals(-code).name}"
    return f"ended with exit code {code} on its own"


def end_failure(child: Child, log: str, *, after: str = "") -> FailureError:
    """The failure of a part that ended on its own; ``log`` is the name of its log file."""
    fix = f"correct what {log} reports, then: make up"
    return FailureError(
        child.name, f"it {describe_end(child)}{after}, so the stack stops", log=list(child.tail), fix=fix
    )
