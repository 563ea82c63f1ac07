"""Logs whose reader does not read: a real process, the reading end of its standard output, and its requests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from kpi_shared.telemetry import log_writer
from kpi_shared.telemetry.log_writer import LogWriter
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.process import clean_environment, free_port, wait_until

# A part in one file: each request is logged, since there is no such path.
PART = """
import sys
from fastapi import FastAPI
from kpi_shared.errors import install_error_handlers
from kpi_shared.http.middleware import RequestContext
from kpi_shared.parts import Part
from kpi_shared.server.runner import main
from kpi_shared.settings import PartSettings
from kpi_shared.telemetry.observation import Observation

class Settings(PartSettings):
    part = Part("sample", "sample_part", 1)

def create_app():
    observation = Observation(Settings(), version="0")
    app = FastAPI(lifespan=lambda app: observation.running())
    install_error_handlers(app)
    app.add_middleware(RequestContext, access_log=False, observation=observation)
    return app

if __name__ == "__main__":
    sys.exit(main(Settings.part, Settings))
"""
# Requests with so long a path fill the queue, the pipe and what the reader holds.
REQUESTS = 1_000
PATH = "/" + "a" * 6_000


@contextmanager
def start(folder: Path, port: int, metrics: int) -> Iterator["subprocess.Popen[bytes]"]:
    package = folder / "sample_part"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PART)
    (package / "asgi.py").write_text("from sample_part.__main__ import create_app\n\napp = create_app()\n")
    environment = clean_environment({"METRICS_PORT": str(metrics), "PYTHONPATH": str(folder)})
    command = [sys.executable, "-m", "sample_part", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def responds(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").status_code == 404
    except httpx.TransportError:
        return False


def dropped(metrics: int) -> float:
    return Scrape.of(metrics).value("kpi_log_lines_dropped_total")


def test_requests_and_signals_do_not_wait_for_the_reader_of_the_logs(tmp_path: Path) -> None:
    port, metrics = free_port(), free_port()
    with start(tmp_path, port, metrics) as process:
        wait_until(lambda: responds(port))
        assert process.stdout is not None
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            assert {client.get(PATH).status_code for _ in range(REQUESTS)} == {404}
        count = dropped(metrics)
        assert count > 0
        # The reader resumes: what was kept arrives in order and whole, and then the number of the dropped lines.
        lines = []
        while not lines or lines[-1]["event"] != "log lines dropped":
            lines.append(json.loads(process.stdout.readline()))
        assert lines[-1]["count"] == count
        assert sum(line["event"] == "request" and line["path"] == PATH for line in lines) == REQUESTS - count
        # It stalls again, and the process is stopped.
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            assert {client.get(PATH).status_code for _ in range(REQUESTS)} == {404}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_normal_stop_writes_every_line(tmp_path: Path) -> None:
    port = free_port()
    with start(tmp_path, port, free_port()) as process:
        wait_until(lambda: responds(port))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for number in range(20):
                client.get(f"/last/{number}")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        paths = [json.loads(line).get("path") for line in output.splitlines()]
        assert [path for path in paths if path and path.startswith("/last")] == [f"/last/{n}" for n in range(20)]


def test_a_process_ends_whose_logs_have_no_reader_any_more(tmp_path: Path) -> None:
    port, metrics = free_port(), free_port()
    with start(tmp_path, port, metrics) as process:
        wait_until(lambda: responds(port))
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        wait_until(lambda: responds(port) and dropped(metrics) > 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])


def test_the_queue_is_bounded_by_its_size(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "MAX_QUEUED_CHARACTERS", 100_000)
    reports: list[int] = []
    writer = LogWriter(pipe[1], reports.append)
    for _ in range(1_000):
        writer.write("a" * 999 + "\n")
    # The pipe holds 64 KiB, the queue 100,000 characters.
    assert 800 < writer.dropped <= 900
    received = 0
    while received < (1_000 - writer.dropped) * 1_000:
        received += len(os.read(pipe[0], 100_000))
    wait_until(lambda: reports == [writer.dropped])


def test_a_long_line_and_short_ones_arrive_whole_and_in_order(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], lambda _count: None)
    lines = [f"{number} " + "é" * size + "\n" for number, size in enumerate([1, 5_000, 2, 4_095, 3, 30_000, 0])]
    for line in lines:
        writer.write(line)
    expected = "".join(lines).encode()
    received = b""
    while len(received) < len(expected):
        received += os.read(pipe[0], 100_000)
    assert received == expected


def test_a_drain_has_a_deadline(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "DRAIN_SECONDS", 0.05)
    writer = LogWriter(pipe[1], lambda _count: None)
    writer.write("a" * 1_000_000)
    started = time.monotonic()
    writer.drain()
    assert time.monotonic() - started >= 0.05
