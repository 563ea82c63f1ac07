"""Who works on this checkout's stack: a lock that dies with its holder, and a note of what runs where."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum

from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.ports import HOST, Ports

TRIES = 5
PAUSE_SECONDS = 0.05


class Phase(StrEnum):
    """How far a stack has come; ``DATABASE`` is a command that started the database alone, for itself."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    DATABASE = "database"


@dataclass(frozen=True)
class State:
    """What the holder of the lock says about its stack. It holds no secret."""

    pid: int
    phase: Phase
    ports: Ports

    @property
    def gateway(self) -> str:
        return f"http://{HOST}:{self.ports.gateway}"


class BusyError(FailureError):
    """Another command holds this checkout's lock."""


@contextmanager
def hold(layout: Layout) -> Iterator[None]:
    """Hold this checkout's lock, or raise BusyError; the system frees it even when the holder is killed."""
    layout.home.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("a") as file:
        if not _take(file.fileno()):
            raise _busy(layout)
        try:
            yield
        finally:
            layout.state.unlink(missing_ok=True)


def write(layout: Layout, phase: Phase, ports: Ports) -> State:
    """Tell other commands of this checkout what runs; for the holder of the lock."""
    state = State(pid=os.getpid(), phase=phase, ports=ports)
    draft = layout.state.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(state)) + "\n")
    draft.replace(layout.state)
    return state


def read(layout: Layout) -> State | None:
    """What runs now, or None: a note whose writer no longer holds the lock is from a killed command."""
    if not held(layout):
        return None
    return _note(layout)


def held(layout: Layout) -> bool:
    """Whether a command works on this checkout's stack now."""
    try:
        with layout.lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _take(descriptor: int) -> bool:
    # ``read`` holds the lock for an instant to see whether it is free, so one refusal is not yet an answer.
    for _ in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
        else:
            return True
    return False


def _note(layout: Layout) -> State | None:
    try:
        note = json.loads(layout.state.read_text())
        return State(pid=note["pid"], phase=Phase(note["phase"]), ports=Ports(**note["ports"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _busy(layout: Layout) -> BusyError:
    state = _note(layout)
    if state is None:
        return BusyError("stack", "another kpi command is starting on this checkout", fix="try again in a moment")
    if state.phase is Phase.DATABASE:
        return BusyError(
            "stack",
            f"another kpi command (pid {state.pid}) uses this checkout's database",
            fix="wait until it is done",
        )
    return BusyError(
        "stack",
        f"it is {state.phase} already at {state.gateway} (pid {state.pid})",
        fix=f"stop it by Ctrl-C in its terminal, or by: kill {state.pid}",
    )
