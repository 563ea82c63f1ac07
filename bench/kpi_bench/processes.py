"""Programs under test: starts them on a core of their own, waits for them, observes them by /proc, and stops them."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
LOAD_CORE = _CORES[-1]

_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchError(Exception):
    """An error that makes the measurement invalid: a program that does not start, a wrong response."""


@dataclass(frozen=True)
class Program:
    """How a program is started. With ``core`` None the scheduler may use any core."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    core: int | None = SERVER_CORE
    folder: Path | None = None


def pin(command: Sequence[str], core: int | None) -> list[str]:
    return list(command) if core is None else ["taskset", "--cpu-list", str(core), *command]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Server:
    """A started program with all its children, which form a process group of their own."""

    def __init__(self, program: Program, log: Path) -> None:
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                pin(program.command, program.core),
                # Settings in the user's shell must not affect a server under test.
                env={**_bare_environment(), **program.environment},
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def memory_bytes(self) -> int:
        return memory_bytes(self.pid)

    def wait_until_ready(self, url: str, *, seconds: float = _READY_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_ready(url):
            if not self.alive or time.monotonic() > deadline:
                last = self._log.read_text(errors="replace")[-2000:]
                raise BenchError(f"no response from {url}; the end of {self._log.name}:\n{last}")
            time.sleep(0.05)

    def stop(self) -> None:
        self.kill(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def wait(self, seconds: float) -> None:
        """Wait until it has exited by itself; BenchError if it does not in time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"the program of {self._log.name} does not exit") from None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.alive:
            os.killpg(self.pid, number)


@contextmanager
def serve(program: Program, log: Path, *, ready: str | None = None) -> Iterator[Server]:
    """Start it, wait until ``ready`` (a URL) responds with 200, and stop it at the end."""
    server = Server(program, log)
    try:
        if ready is not None:
            server.wait_until_ready(ready)
        yield server
    finally:
        server.stop()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 the benchmark's own address
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def process_tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _stat(int(entry.name))):
            children.setdefault(int(found[1]), []).append(int(entry.name))
    found_pids, queue = [], [pid]
    while queue:
        found_pids.append(queue.pop())
        queue += children.get(found_pids[-1], [])
    return found_pids


def cpu_seconds(*pids: int) -> float:
    """User and system time of the processes and their living descendants so far.

    Exited children that their parents have waited for are included.
    """
    stats = [_stat(one) for pid in pids for one in process_tree(pid)]
    return sum(sum(int(ticks) for ticks in found[11:15]) for found in stats if found) / _TICKS


def memory_bytes(pid: int) -> int:
    """Resident memory of the process and its descendants; shared pages are counted once for each."""
    return sum(int(found[21]) for one in process_tree(pid) if (found := _stat(one))) * _PAGE


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (the third in proc(5)), or None if the process has exited."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _bare_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
