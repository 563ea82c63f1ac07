"""A part as a real process: started as by an operator, awaited and stopped."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

_TIMEOUT_SECONDS = 60.0
# Other tests run beside a part: what is slow for that reason is no failure.
_PATIENCE = {
    "REQUEST_TIMEOUT": "20",
    "DATABASE_POOL_TIMEOUT": "15",
    "DATABASE_STATEMENT_TIMEOUT": "15",
    "HASH_PATIENCE": "15",
    "SEARCH_PATIENCE": "15",
    "UPSTREAM_CONNECT_TIMEOUT": "15",
    "UPSTREAM_READ_TIMEOUT": "25",
    "UPSTREAM_QUEUE_TIMEOUT": "15",
}
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "SSL_CERT_FILE", "TMPDIR", "CONFIG_DIR")


def free_port() -> int:
    """An unused port below the range that the system uses for outgoing connections."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            port = secrets.choice(range(10_000, 20_000))
            probe.bind(("127.0.0.1", port))
            return port


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings, and from this process's environment only the variables that any program needs."""
    return {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | dict(settings)


def run_command(package: str, *arguments: str, settings: Mapping[str, str], given: str = "") -> str:
    """Run one command of a part, with ``given`` as its input, and return its output; AssertionError if it fails."""
    command = [sys.executable, "-m", package, *arguments]
    environment = clean_environment(settings)
    result = subprocess.run(command, env=environment, input=given, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@contextmanager
def start_part(
    package: str,
    settings: Mapping[str, str],
    *arguments: str,
    log: Path,
    port: int | None = None,
    is_patient: bool = True,
) -> Iterator[str]:
    """Run ``python -m package`` during the block; yields its address once /health/live responds.

    Its timeouts are long enough for a busy machine, except those in ``settings``. With ``is_patient=False`` they are
    the product's own: for tests of what a part does when another one fails or stands still.
    """
    with launch_part(package, settings, *arguments, log=log, port=port, is_patient=is_patient) as part:
        yield part.address


@contextmanager
def launch_part(
    package: str,
    settings: Mapping[str, str],
    *arguments: str,
    log: Path,
    port: int | None = None,
    is_patient: bool = True,
) -> Iterator["PartProcess"]:
    """As ``start_part``, for tests that send signals to the process."""
    port = port or free_port()
    command = [sys.executable, "-m", package, "--port", str(port), *arguments]
    environment = clean_environment({**(_PATIENCE if is_patient else {}), **settings})
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        part = PartProcess(process, f"http://127.0.0.1:{port}", log)
        _wait_until_alive(process, part.address, log)
        yield part
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class PartProcess:
    """A running part and its log file."""

    process: "subprocess.Popen[bytes]"
    address: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def lines(self) -> list[dict[str, object]]:
        """Its log records so far, without an incomplete last line."""
        return read_log(self.log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Suspend the process during the block: the system accepts connections, and nothing responds."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            # Wait until it is suspended.
            os.waitpid(self.process.pid, os.WUNTRACED)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


def read_log(log: Path, **values: object) -> list[dict[str, object]]:
    """The records of a log so far that have these values, without an incomplete last line.

    A part writes its log in a thread, and the record of a request after its response. A test that reads it just after
    a response has to wait for the record: see ``wait_for_records``.
    """
    text = log.read_text(encoding="utf-8")
    records = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [record for record in records if values.items() <= record.items()]


def wait_for_records(log: Path, count: int = 1, **values: object) -> list[dict[str, object]]:
    """The records with these values, once there are at least so many; AssertionError after the timeout."""
    wait_until(lambda: len(read_log(log, **values)) >= count)
    return read_log(log, **values)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for an effect of another process; AssertionError after the timeout."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.02)


def _wait_until_alive(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{address}/health/live", timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not respond; its log ends:\n{log.read_text()[-2000:]}")
