"""Finds and ends processes of this checkout that outlived their supervisor, and no others."""

import os
import signal
from pathlib import Path

import psutil  # type: ignore[import-untyped]

# Every process of a stack carries this name in its environment, with the stack's home as value. It tells a
# process of this checkout from any other, and, unlike a pid in a file, it cannot come to mean someone else.
MARK = "KPI_STACK"
GRACE_SECONDS = 10


def alive(pid: int) -> bool:
    """Whether a process with this id runs."""
    return bool(psutil.pid_exists(pid))


def leftovers(home: Path, data: Path) -> list[psutil.Process]:
    """What a killed supervisor left behind; for a caller who knows that none runs."""
    postmaster = _postmaster(data / "postmaster.pid", data)
    return [*_orphans(home), *([postmaster] if postmaster else [])]


def listens(process: psutil.Process, port: int) -> bool:
    """Whether this process holds the port."""
    try:
        connections = process.net_connections("tcp")
    except (OSError, psutil.Error):
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)


def end_orphans(home: Path) -> int:
    """End what a killed supervisor left behind, politely first; returns how many there were."""
    orphans = _orphans(home)
    for process in orphans:
        _send(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(orphans, timeout=GRACE_SECONDS)
    for process in stubborn:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=GRACE_SECONDS)
    return len(orphans)


def end_postmaster(data: Path) -> bool:
    """End a PostgreSQL that still runs on this data directory; false if there is none.

    postmaster.pid may be as old as the last power cut, and its number may be anyone's by now. So the process
    has to be a ``postgres`` that was started on this very directory; else only the file goes.
    """
    record = data / "postmaster.pid"
    postmaster = _postmaster(record, data)
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


def _postmaster(record: Path, data: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(int(record.read_text().splitlines()[0]))
        return process if process.name() == "postgres" and str(data) in process.cmdline() else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _orphans(home: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _belongs(process, home)]


def _belongs(process: psutil.Process, home: Path) -> bool:
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
