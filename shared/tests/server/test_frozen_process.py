"""A service as a process that stands still for longer than its requests may take, and then goes on; or that stops."""

import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import frozen_service
import httpx
import pytest
from kpi_shared.testing.process import PartProcess, launch_part, wait_until

# Of the waiting requests, none has ended when the process stops, and each is too late when it goes on.
WAIT_SECONDS = 0.75 * frozen_service.TIMEOUT
FREEZE_SECONDS = 1.25 * frozen_service.TIMEOUT
LINGER_NEVER = struct.pack("ii", 1, 0)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PartProcess]:
    search = {"PYTHONPATH": str(Path(frozen_service.__file__).parent)}
    with launch_part("frozen_service", search, log=tmp_path / "log") as part:
        yield part


@pytest.fixture
def connect(service: PartProcess) -> Iterator[Callable[[], "Peer"]]:
    with ExitStack() as stack:
        yield lambda: Peer(stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 20)))


class Peer:
    """One connection to the service."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, name: str, *, query: str = "", headers: str = "", body: str = "") -> None:
        self.send_more(f"POST /{name}?{query} HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")

    def send_more(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def read(self) -> str:
        """What arrives until the connection ends or is silent after a response."""
        data = b""
        while b"\r\n\r\n" not in data and (more := self._socket.recv(65_536)):
            data += more
        return data.decode()

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NEVER)
        self._socket.close()


def noted(service: PartProcess) -> tuple[list[str], list[str]]:
    begun, completed = httpx.get(f"{service.address}/noted", timeout=20).json()
    return begun, completed


def test_what_waited_in_the_system_is_not_begun(service: PartProcess, connect: Callable[[], Peer]) -> None:
    idle, left, stays, fresh = (connect() for _ in range(4))
    with service.suspend():
        # On a connection that the process knows, and on one that it has yet to accept.
        idle.send("reset")
        new = connect()
        new.send("closed")
        left.send("left-with-a-body", headers="Content-Length: 2\r\n", body="hi")
        stays.send("stays")
        time.sleep(FREEZE_SECONDS)
        idle.reset()
        new.close()
        left.reset()
        fresh.send("fresh")
    response = stays.read()
    assert response.startswith("HTTP/1.1 503 ")
    assert "retry-after: 1\r\n" in response
    assert "connection: close\r\n" in response
    assert "x-request-id: " in response
    assert fresh.read().startswith("HTTP/1.1 200 ")
    assert noted(service) == (["/fresh"], ["/fresh"])


def test_what_had_begun_does_not_go_on(service: PartProcess, connect: Callable[[], Peer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as source:
        timed, piped, sending, pipelined = (connect() for _ in range(4))
        timed.send("timed", query=f"seconds={WAIT_SECONDS}", headers="X-Request-ID: mine\r\n")
        piped.send("piped", query=f"port={source.getsockname()[1]}")
        sending.send("sending", headers="Content-Length: 2\r\n", body="h")
        pipelined.send("first", query=f"seconds={WAIT_SECONDS}")
        pipelined.send("second")
        wait_until(lambda: {"/timed", "/piped", "/sending", "/first"} <= set(noted(service)[0]))
        with source.accept()[0] as awaited, service.suspend():
            # What these two wait for happens in the meantime.
            awaited.sendall(b"x")
            sending.send_more("i")
            time.sleep(FREEZE_SECONDS)
        for peer in (timed, piped, sending, pipelined):
            assert peer.read().startswith("HTTP/1.1 503 ")
        begun, completed = noted(service)
    assert (sorted(begun), completed) == (["/first", "/piped", "/sending", "/timed"], [])
    assert httpx.post(f"{service.address}/after").is_success
    assert noted(service)[1] == ["/after"]


def test_a_stop_completes_the_requests_in_progress(service: PartProcess, connect: Callable[[], Peer]) -> None:
    peer = connect()
    peer.send("last", query="seconds=1")
    wait_until(lambda: "/last" in noted(service)[0])
    service.process.terminate()
    response = peer.read()
    assert response.startswith("HTTP/1.1 200 ")
    assert "connection: close\r\n" in response
    # After a clean stop uvicorn raises the signal again.
    assert service.process.wait(20) == -signal.SIGTERM
