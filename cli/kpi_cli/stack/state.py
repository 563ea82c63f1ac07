"""Which command works on this checkout's stack: a lock that ends with its holder, and a file that says what runs."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import psutil  # type: ignore[import-untyped]

from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.stack import processes
from kpi_cli.stack.ports import HOST, Ports

TRIES = 5
PAUSE_SECONDS = 0.05


class Phase(StrEnum):
    """How far a stack has come; ``DATABASE`` is a command that started the database alone, for its own use."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    DATABASE = "database"

    @property
    def word(self) -> str:
        """The phase in a sentence: ``KPI-One is up``."""
        return "up" if self is Phase.READY else str(self)


@dataclass(frozen=True)
class State:
    """What the holder of the lock has written about its stack. It holds no secret."""

    pid: int
    phase: Phase
    ports: Ports
    # Where e-mails go, in words for people; empty if that is not known.
    mail: str = ""

    @property
    def gateway(self) -> str:
        return f"http://{HOST}:{self.ports.gateway}"


class BusyError(FailureError):
    """Another command holds this checkout's lock."""


@contextmanager
def hold(layout: Layout) -> Iterator[None]:
    """Hold this checkout's lock, or raise BusyError; the system releases it even when the holder is killed."""
    layout.home.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("a") as file:
        if not _acquire(file.fileno()):
            raise _busy_error(layout)
        try:
            yield
        finally:
            layout.state.unlink(missing_ok=True)


def write(layout: Layout, phase: Phase, ports: Ports, mail: str = "") -> State:
    """Let other commands of this checkout know what runs; only the holder of the lock may call it."""
    state = State(pid=os.getpid(), phase=phase, ports=ports, mail=mail)
    draft = layout.state.with_suffix(".draft")
    kept = {"pid": state.pid, "phase": phase, "ports": dict(ports.by_name), "mail": mail}
    draft.write_text(json.dumps(kept) + "\n")
    draft.replace(layout.state)
    return state


def read(layout: Layout) -> State | None:
    """What runs now, or None: a file whose writer no longer holds the lock is from a killed command."""
    if not is_held(layout):
        return None
    return _read_file(layout)


def find_leftovers(layout: Layout) -> list[psutil.Process]:
    """The processes that a killed command left running; none while a command works on this checkout."""
    return [] if is_held(layout) else processes.leftovers(layout.home, layout.data)


def is_held(layout: Layout) -> bool:
    """Whether a command works on this checkout's stack now."""
    try:
        with layout.lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _acquire(descriptor: int) -> bool:
    # ``is_held`` takes the lock for an instant to see whether it is free, so one refusal is not conclusive.
    for _ in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
        else:
            return True
    return False


def _read_file(layout: Layout) -> State | None:
    try:
        kept = json.loads(layout.state.read_text())
        ports = Ports({str(name): int(port) for name, port in kept["ports"].items()})
        return State(pid=kept["pid"], phase=Phase(kept["phase"]), ports=ports, mail=str(kept.get("mail", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _busy_error(layout: Layout) -> BusyError:
    state = _read_file(layout)
    if state is None:
        return BusyError("stack", "another kpi command is starting on this checkout", fix="try again in a moment")
    if state.phase is Phase.DATABASE:
        return BusyError(
            "stack",
            f"another kpi command (pid {state.pid}) uses this checkout's database",
            fix="wait until it has finished",
        )
    return BusyError(
        "stack",
        f"it is already {state.phase.word} at {state.gateway} (pid {state.pid})",
        fix=f"stop it with Ctrl-C in its terminal, or with: kill {state.pid}",
    )
