"""Runs the processes of a stack: starts them, reads what they say, notices when one dies, stops them."""

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
from kpi_cli.postgres import Account
from kpi_cli.terminal import plain

Echo = Callable[[str, str], None]

TAIL_LINES = 10
LINE_BYTES = 1024 * 1024
# Longer than a part waits for what is in flight.
GRACE_SECONDS = 15


@dataclass
class Child:
    """A process of the stack. ``tail`` holds its last lines, ``leaving`` is set once we want it to end."""

    name: str
    process: asyncio.subprocess.Process
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    leaving: bool = False
    reader: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self.process.returncode is None


class Supervisor:
    """The processes of one stack, each the leader of a session of its own.

    The terminal's Ctrl-C therefore reaches the supervisor only, which can then stop them in order.
    """

    def __init__(self, logs: Path, echo: Echo) -> None:
        self._logs = logs
        self._echo = echo
        self._children: list[Child] = []
        self._watchers: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()
        self.died: asyncio.Future[Child] = asyncio.get_running_loop().create_future()

    async def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        account: Account | None = None,
    ) -> Child:
        """Start a process that is to run until it is stopped; when it ends before, ``died`` gets it."""
        child = await self._spawn(name, command, environment, account or Account(), fresh_log=True)
        self._children.append(child)
        watcher = asyncio.create_task(self._watch(child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return child

    async def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Run a process to its end and return it; its exit code is the caller's to judge."""
        child = await self._spawn(name, command, environment, Account(), fresh_log=False)
        child.leaving = True
        self._children.append(child)
        await self._ended(child)
        self._children.remove(child)
        return child

    async def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop every process of that name: by the signal, and by SIGKILL when it does not end in time."""
        async with asyncio.TaskGroup() as group:
            for child in [child for child in self._children if child.name == name]:
                group.create_task(self._stop(child, number))

    def hurry(self) -> None:
        """A second Ctrl-C: whoever is asked to end is no longer waited for."""
        self._hurry.set()

    async def _spawn(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        account: Account,
        *,
        fresh_log: bool,
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
        child.reader = asyncio.create_task(self._read(child, self._open_log(name, fresh=fresh_log)))
        return child

    def _open_log(self, name: str, *, fresh: bool) -> BinaryIO:
        path = self._logs / f"{name}.log"
        if fresh and path.exists():
            path.replace(path.with_suffix(".log.1"))
        # Unbuffered: what could not be written to a full disk must not be tried again at closing.
        return path.open("ab", buffering=0)

    async def _read(self, child: Child, log: BinaryIO) -> None:
        output = child.process.stdout
        with contextlib.closing(log):
            while output is not None:
                try:
                    line = await output.readline()
                except ValueError:
                    # Longer than LINE_BYTES: asyncio has dropped it, and the next one is worth reading.
                    continue
                if not line:
                    return
                self._take(child, line.decode("utf-8", "replace").rstrip("\r\n"), log)

    def _take(self, child: Child, line: str, log: BinaryIO) -> None:
        child.tail.append(plain(line))
        with contextlib.suppress(OSError):
            # On a full disk the stack goes on without this line in its file.
            log.write(plain(line).encode() + b"\n")
        self._echo(child.name, line)

    async def _watch(self, child: Child) -> None:
        await self._ended(child)
        if not child.leaving and not self.died.done():
            self.died.set_result(child)

    async def _ended(self, child: Child) -> None:
        await child.process.wait()
        if child.reader is not None:
            # A grandchild may hold the pipe open for ever; what the part itself said is there by now.
            await asyncio.wait([child.reader], timeout=1)

    async def _stop(self, child: Child, number: signal.Signals) -> None:
        child.leaving = True
        if child.alive:
            # The database tells its own children; the others' workers learn it from the group.
            self._signal(child, number, group=number is not signal.SIGINT)
            await self._wait_for(child, patient=number is signal.SIGINT)
        if child.alive:
            self._signal(child, signal.SIGKILL, group=True)
        await self._ended(child)

    async def _wait_for(self, child: Child, *, patient: bool) -> None:
        ended = asyncio.create_task(child.process.wait())
        # A database that is killed has to repair itself at the next start, so it keeps its time in any case.
        hurry = asyncio.create_task(asyncio.Event().wait() if patient else self._hurry.wait())
        await asyncio.wait({ended, hurry}, timeout=GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, hurry):
            task.cancel()

    @staticmethod
    def _signal(child: Child, number: signal.Signals, *, group: bool) -> None:
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(child.process.pid, number)
            else:
                child.process.send_signal(number)


def death(child: Child, log: str) -> FailureError:
    """The sentence for a part that ended on its own; ``log`` is the name of its log file."""
    code = child.process.returncode or 0
    how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    fix = f"mend what {log} names, then: make up"
    return FailureError(child.name, f"it {how} on its own, so the stack stops", log=list(child.tail), fix=fix)
