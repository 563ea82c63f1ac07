"""A real Redis if the machine has one: Debian's ``redis-server`` with its own port and folder."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from kpi_shared.testing.process import free_port

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
needs_redis = pytest.mark.skipif(PROGRAM is None, reason="no redis-server on this machine (Debian: redis-server)")
_PATIENCE_SECONDS = 20.0


class RedisServer:
    """A server that tests may stop, kill and restart on the same port; it stores nothing on disk."""

    def __init__(self, folder: Path, *, password: str | None = None) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._password = password

    @property
    def url(self) -> str:
        secret = f":{self._password}@" if self._password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        assert PROGRAM is not None
        options = ["--save", "", "--appendonly", "no", "--dir", str(self._folder), "--bind", "127.0.0.1"]
        if self._password:
            options += ["--requirepass", self._password]
        log = self._folder / "redis.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen([PROGRAM, "--port", str(self.port), *options], stdout=output)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                if probe.recv(64):
                    return
            time.sleep(0.02)
        raise AssertionError(log.read_text())

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server(folder: Path, *, password: str | None = None) -> Iterator[RedisServer]:
    server = RedisServer(folder, password=password)
    server.start()
    try:
        yield server
    finally:
        server.kill()
