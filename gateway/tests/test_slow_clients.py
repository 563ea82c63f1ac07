"""A thousand slow clients and honest ones; gateway, service, and both kinds of clients are separate processes."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import slow_support
from kpi_shared.testing.process import free_port, start_part

CONNECTIONS = 1_000
# What is promised: each slow connection is closed within this time, and this share of honest requests succeeds.
SECONDS = 10.0
GOOD = 0.999
# How long the test waits for a gateway that closes no connection.
PATIENCE_SECONDS = 30.0
# Reading the system's table takes some 10 ms.
LOOK_SECONDS = 0.25

# Headers, bodies and reads in small pieces.
ATTACKS = {
    "headers": ("-H", "-i", "1", "-u", "{address}/posts"),
    "bodies": ("-B", "-i", "1", "-s", "100000", "-u", "{address}/posts"),
    # The receive window is small, and five bytes of it are read each second.
    "reads": ("-X", "-w", "256", "-y", "512", "-n", "1", "-z", "5", "-k", "3", "-u", "{address}/posts/large"),
}


@contextmanager
def running(*command: str, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """A program until the block ends. Its output goes to a file: a pipe that is not read would block it."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def service(folder: Path) -> Iterator[str]:
    port = free_port()
    with running(sys.executable, slow_support.__file__, "upstream", str(port), log=folder / "service.log") as process:
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=5)) as client:
            assert client.get(address).status_code == 200
        assert process.poll() is None
        yield address


class Table:
    """The system's table of connections: the clients connected to the gateway, and for how long.

    slowhttptest itself does not notice that a connection which it reads slowly was reset.
    """

    def __init__(self, port: int) -> None:
        self._end = f":{port:04X}"
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self.most = self.open = 0

    def look(self) -> None:
        now = time.monotonic()
        open_now = [row[2] for row in self._rows() if row[1].endswith(self._end) and row[3] in _OPEN]
        slow = [client for client in open_now if client.startswith(_SLOW)]
        for client in slow:
            self._first.setdefault(client, now)
            self._last[client] = now
        self.open = len(slow)
        self.most = max(self.most, self.open)

    @staticmethod
    def _rows() -> list[list[str]]:
        return [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()]

    @property
    def seen(self) -> int:
        return len(self._first)

    @property
    def oldest(self) -> float:
        """The age of the oldest connection when it was last seen; it may have lasted for two further intervals."""
        return max(self._last[client] - first for client, first in self._first.items())


# 127.0.0.1, the address of slowhttptest; states are ESTABLISHED, and CLOSE_WAIT, which only the client has closed.
_SLOW = "0100007F:"
_OPEN = {"01", "08"}


def attack(table: Table, address: str, kind: str, log: Path) -> None:
    """Run slowhttptest until all of its connections have been opened and closed."""
    arguments = [part.format(address=address) for part in ATTACKS[kind]]
    # slowhttptest itself runs longer than this, so a closed connection was closed by the gateway.
    lasting = str(int(2 * PATIENCE_SECONDS))
    everything = ("slowhttptest", "-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-l", lasting, *arguments)
    deadline = time.monotonic() + PATIENCE_SECONDS
    with running(*everything, log=log):
        while time.monotonic() < deadline and (table.seen < CONNECTIONS or table.open):
            time.sleep(LOOK_SECONDS)
            table.look()


@pytest.mark.e2e
@pytest.mark.quiet
@pytest.mark.skipif(shutil.which("slowhttptest") is None, reason="slowhttptest is not installed")
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the system shows no table of connections")
@pytest.mark.parametrize("kind", ATTACKS)
def test_a_thousand_slow_clients_are_closed_and_others_are_served(kind: str, tmp_path: Path) -> None:
    with service(tmp_path) as upstream:
        settings = {"CONTENT_URL": upstream, "RATE_LIMIT_ENABLED": "false"}
        with start_part("kpi_gateway", settings, log=tmp_path / "gateway.log", is_patient=False) as address:
            port = urlsplit(address).port
            assert port is not None
            table, output = Table(port), tmp_path / "clients.log"
            command = (sys.executable, slow_support.__file__, "clients", str(port))
            with running(*command, log=output) as clients:
                attack(table, address, kind, tmp_path / "slowhttptest.log")
                clients.communicate()
    honest = json.loads(output.read_text())
    assert table.seen >= CONNECTIONS
    assert table.most >= CONNECTIONS * 0.9
    assert table.open == 0
    assert table.oldest <= SECONDS
    assert honest["found"]["200"] >= GOOD * honest["sent"], honest
    assert honest["sent"] >= slow_support.RATE * honest["seconds"] * 0.95
