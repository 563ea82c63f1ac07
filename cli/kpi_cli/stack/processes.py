"""Finds and ends processes of this checkout that outlived their supervisor, and no others."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from kpi_cli.parts import PARTS

# Every process of a stack has this variable in its environment, with the stack's home as value. It tells a process of
# this checkout from any other, and, unlike a pid in a file, it can never refer to an unrelated process.
MARK = "KPI_STACK"
GRACE_SECONDS = 10


def leftovers(home: Path, data: Path) -> list[psutil.Process]:
    """What a killed supervisor left running; the caller must know that no supervisor runs now."""
    postmaster = _find_postmaster(data / "postmaster.pid", data)
    return [*_find_orphans(home), *([postmaster] if postmaster else [])]


def describe(left: Sequence[psutil.Process]) -> str:
    """The processes with the names of their parts: ``auth (pid 12), postgres (pid 14)``."""
    return ", ".join(f"{_name(process)} (pid {process.pid})" for process in left)


def stop_command(left: Sequence[psutil.Process]) -> str:
    """The command that ends these processes and starts nothing."""
    return f"kill {' '.join(str(process.pid) for process in left)}"


def _name(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
        return next((part.name for part in PARTS if part.package in command), str(process.name()))
    except psutil.Error:
        return "process"


def listens_on(process: psutil.Process, port: int) -> bool:
    """Whether this process listens on the port."""
    try:
        connections = process.net_connections("tcp")
    except (OSError, psutil.Error):
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)


def end_orphans(home: Path) -> int:
    """End what a killed supervisor left running, by SIGTERM first; returns how many there were."""
    orphans = _find_orphans(home)
    for process in orphans:
        _send(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(orphans, timeout=GRACE_SECONDS)
    for process in stubborn:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=GRACE_SECONDS)
    return len(orphans)


def end_postmaster(data: Path) -> bool:
    """End a PostgreSQL that still runs on this data directory; false if there is none.

    postmaster.pid may be left from a power cut, and another process may have its number by now. So the process has to
    be a ``postgres`` that was started on this very directory; otherwise only the file is removed.
    """
    record = data / "postmaster.pid"
    postmaster = _find_postmaster(record, data)
    if postmaster is None:
        record.unlink(missing_ok=True)
        return False
    children = postmaster.children(recursive=True)
    for step in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        _send(postmaster, step)
        if not psutil.wait_procs([postmaster], timeout=GRACE_SECONDS)[1]:
            break
    psutil.wait_procs(children, timeout=GRACE_SECONDS)
    return True


def wait_for_backends(data: Path) -> None:
    """Wait until the processes of a PostgreSQL have ended whose postmaster was killed: they still use its memory."""
    backends = [process for process in psutil.process_iter() if _works_in(process, data)]
    psutil.wait_procs(backends, timeout=GRACE_SECONDS)


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return bool(process.name() == "postgres" and process.cwd() == str(data))
    except (OSError, psutil.Error):
        return False


def _find_postmaster(record: Path, data: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(int(record.read_text().splitlines()[0]))
        return process if process.name() == "postgres" and str(data) in process.cmdline() else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _find_orphans(home: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _belongs_to(process, home)]


def _belongs_to(process: psutil.Process, home: Path) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        return bool(process.environ().get(MARK) == str(home))
    except (OSError, psutil.Error):
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
