"""Requests at a constant rate (``python -m kpi_bench.steady URL RATE SECONDS``), printed as one JSON object.

The loop is open: each request has a scheduled time, whether or not earlier requests are complete, and its latency
is measured from that time. wrk sends the next request when the last one is complete, so it sends fewer to a server that
stalls, and the stall hardly shows. It uses plain sockets and epoll, since the client's own time is part of the latency.
"""

import gc
import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from kpi_bench.options import BENCH
from kpi_bench.processes import LOAD_CORE, BenchError, pin

_CONNECTIONS = 64
# How long to wait for responses after the last request is sent.
_LATE_SECONDS = 5.0


@dataclass(frozen=True)
class Latencies:
    """In milliseconds. ``late`` is the number of requests sent over a millisecond after their scheduled time."""

    rate: float
    p50: float
    p99: float
    requests: int
    errors: int
    late: int


def measure_latency(url: str, rate: float, seconds: float) -> Latencies:
    """Measure in a process of its own, pinned to the load's core."""
    command = [sys.executable, "-m", "kpi_bench.steady", url, str(rate), str(seconds)]
    result = subprocess.run(
        pin(command, LOAD_CORE), cwd=BENCH, capture_output=True, text=True, check=False, timeout=seconds + 60
    )
    if result.returncode:
        raise BenchError(f"{url} at {rate:.0f} requests/s: {result.stderr[-2000:]}")
    return Latencies(**json.loads(result.stdout))


class _Connection:
    """A persistent connection with at most one request in flight."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._received = b""

    def receive(self) -> int | None:
        """The status of a complete response, None for an incomplete one, 0 for a closed connection."""
        try:
            piece = self.socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        if not piece:
            return 0
        self._received += piece
        if not _is_complete(self._received):
            return None
        status = int(self._received[9:12])
        self._received = b""
        return status


def _is_complete(data: bytes) -> bool:
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    place = head.lower().find(b"\r\ncontent-length:")
    if place < 0:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(head[place + 17 :].split(b"\r\n", 1)[0])


class _Client:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._poll = select.epoll()
        self._idle: deque[_Connection] = deque()
        self._busy: dict[int, _Connection] = {}
        self.times: list[float] = []
        self.errors = 0
        self.late = 0
        for _ in range(_CONNECTIONS):
            self._open()

    def _open(self) -> None:
        connection = _Connection(self._address)
        # Wait for a first response, so that no connection is set up during the measurement.
        connection.socket.sendall(self._request)
        while connection.receive() is None:
            pass
        connection.socket.setblocking(False)
        self._poll.register(connection.socket, select.EPOLLIN)
        self._idle.append(connection)

    def run(self, rate: float, seconds: float) -> None:
        began, total, sent = time.perf_counter(), int(rate * seconds), 0
        while sent < total or self._busy:
            now = time.perf_counter() - began
            if sent < total and now >= sent / rate and self._idle:
                self._send(began + sent / rate, began + now)
                sent += 1
                continue
            if sent == total and now > seconds + _LATE_SECONDS:
                self.errors += len(self._busy)
                return
            waits = sent / rate - now if sent < total and self._idle else 1.0
            # epoll's own timeout is whole milliseconds, select's is microseconds.
            if waits <= 0 or select.select([self._poll], [], [], waits)[0]:
                self._receive()

    def _send(self, due: float, now: float) -> None:
        connection = self._idle.popleft()
        connection.due = due
        self.late += now - due > 0.001
        self._busy[connection.socket.fileno()] = connection
        try:
            connection.socket.send(self._request)
        except OSError:
            self._fail(connection)

    def _receive(self) -> None:
        for number, _ in self._poll.poll(0):
            connection = self._busy.get(number)
            if connection is None:
                self._replace_idle(number)
                continue
            status = connection.receive()
            if status == 200:
                self.times.append(time.perf_counter() - connection.due)
                self._idle.append(self._busy.pop(number))
            elif status is not None:
                self._fail(connection)

    def _replace_idle(self, number: int) -> None:
        """A server may close an idle connection, for example after a number of requests."""
        connection = next(one for one in self._idle if one.socket.fileno() == number)
        self._idle.remove(connection)
        self._replace(connection)

    def _fail(self, connection: _Connection) -> None:
        self.errors += 1
        del self._busy[connection.socket.fileno()]
        self._replace(connection)

    def _replace(self, connection: _Connection) -> None:
        self._poll.unregister(connection.socket)
        connection.socket.close()
        self._open()


def main() -> None:
    url, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    client = _Client(url)
    gc.disable()
    client.run(rate, seconds)
    times = sorted(client.times)
    if not times:
        raise BenchError(f"{url}: no request got a response")
    found = Latencies(
        rate=rate,
        p50=times[len(times) // 2] * 1000,
        p99=times[min(len(times) - 1, len(times) * 99 // 100)] * 1000,
        requests=len(times),
        errors=client.errors,
        late=client.late,
    )
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
