"""``kpi logs``: lines of every form, files of any size, and what is added while they are read."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_harness import PATIENCE_SECONDS, Checkout
from kpi_cli.operations import log_files, log_records
from kpi_cli.operations.log_files import Follower
from kpi_cli.operations.log_records import Filter, Level

AUTH = [
    "kpi-auth: the database is at a012",
    "2026-11-27T22:00:01.000002Z [info     ] signed in    part=kpi-auth request_id=r1 status=200",
    "2026-11-27T22:00:05.000000Z [error    ] failed       part=kpi-auth request_id=r2",
    "Traceback (most recent call last):",
    "  1 / 0",
    "ZeroDivisionError",
]
GATEWAY = [
    '{"event": "request", "level": "info", "timestamp": "2026-11-27T22:00:01.5Z", "request_id": "r1", "status": 200}',
    '{"event": "request", "level": "warning", "timestamp": "2026-11-27T22:00:06Z", "request_id": "r2"}',
]
POSTGRES = ["2026-11-27 22:00:02.250 UTC [77] postgres@kpi_auth ERROR:  there is no table"]


def read(part: str, lines: list[str], wanted: Filter) -> list[log_records.Record]:
    return list(log_records.read(part, [f"{line}\n".encode() for line in lines], wanted))


@pytest.fixture
def logs(empty_checkout: Checkout) -> Path:
    folder = empty_checkout.home / "logs"
    folder.mkdir()
    for name, lines in (("auth", AUTH), ("gateway", GATEWAY), ("postgres", POSTGRES)):
        (folder / f"{name}.log").write_text("\n".join(lines) + "\n")
    return folder


def test_all_parts_are_merged_in_the_order_of_time(empty_checkout: Checkout, logs: Path) -> None:
    (logs / "auth.log").rename(logs / "auth.log.1")
    (logs / "auth.log").write_text("2026-11-27T22:00:07.000000Z [info     ] started\n")
    result = empty_checkout.kpi("logs")
    assert result.returncode == 0, result.stderr
    assert [line.split(" ")[0] for line in result.stdout.splitlines()] == [
        "auth", "auth", "gateway", "postgres", "auth", "auth", "auth", "auth", "gateway", "auth",
    ]  # fmt: skip
    shown = "2026-11-27T22:00:01.500000Z [info    ] request                        request_id=r1 status=200"
    assert result.stdout.splitlines()[2] == f"gateway  | {shown}"


def test_a_request_is_followed_across_the_parts(empty_checkout: Checkout, logs: Path) -> None:
    result = empty_checkout.kpi("logs", "--request", "r2", "--json")
    records = json.loads(result.stdout)
    assert [(each["part"], each["level"]) for each in records] == [("auth", "error"), ("gateway", "warning")]
    assert records[0]["text"].splitlines() == AUTH[2:]
    assert json.loads(empty_checkout.kpi("logs", "--request", "r", "--json").stdout) == []


def test_levels_times_parts_and_numbers(empty_checkout: Checkout, logs: Path) -> None:
    important = json.loads(empty_checkout.kpi("logs", "--level", "error", "--json").stdout)
    assert [each["part"] for each in important] == ["postgres", "auth"]
    newest = empty_checkout.kpi("logs", "-n", "1", "gateway").stdout
    assert newest.startswith("gateway  | 2026-11-27T22:00:06.000000Z [warning ]")
    now = datetime.now(UTC) - timedelta(minutes=1)
    with (logs / "gateway.log").open("a") as file:
        file.write(f"{now:%Y-%m-%dT%H:%M:%S.%fZ} [info     ] late\n")
    assert empty_checkout.kpi("logs", "--since", "10m").stdout.splitlines()[0].endswith("late")
    assert empty_checkout.kpi("logs", "--since", "ever").returncode == 2


def test_without_a_local_stack_the_way_to_the_logs_is_named(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("logs")
    assert result.returncode == 1
    assert "docker compose logs" in result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_nothing_in_a_line_reaches_the_terminal_as_a_command(empty_checkout: Checkout, logs: Path) -> None:
    (logs / "auth.log").write_bytes(b"2026-11-27T22:00:01Z [info] \x1b]0;owned\x07 \x9b31m \xff\xfe \r\x08\n")
    printed = empty_checkout.kpi("logs", "auth").stdout
    assert printed.endswith("\n")
    assert printed.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "{}",
        "[]",
        "{" * 100_000,
        '{"timestamp": 1, "level": [], "request_id": {}}',
        "2026-99-99T99:99:99Z x",
        "\0",
    ],
)
def test_broken_lines_are_lines(line: str) -> None:
    records = read("auth", [AUTH[1], line, AUTH[2]], Filter())
    assert records[0].lines[0] == AUTH[1]
    assert records[-1].lines[0] == AUTH[2]
    assert sum(len(record.lines) for record in records) == 3


def test_a_line_of_json_keeps_its_fields() -> None:
    (record,) = read("gateway", GATEWAY[:1], Filter(level=Level.INFO))
    assert (record.level, record.request_id, record.fields["status"]) == (Level.INFO, "r1", 200)


def test_the_end_and_the_beginning_of_a_time_are_found_without_reading_all(tmp_path: Path) -> None:
    start = datetime(2026, 11, 27, tzinfo=UTC)
    times = [f"{start + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S.%f}Z" for number in range(100_000)]
    path = tmp_path / "gateway.log"
    path.write_text("".join(f"{time} [info     ] request number={number}\n" for number, time in enumerate(times)))
    end = list(log_files.read("gateway", [path], Filter(), 10))
    assert end[-1].time == times[-1]
    assert 10 <= len(end) < 50_000
    since = Filter(since=times[70_000])
    assert [each.time for each in log_files.read("gateway", [path], since, None)] == times[70_000:]
    with path.open("rb") as file:
        assert log_files._find_since(file, times[70_000]) > path.stat().st_size // 2


def test_a_file_without_any_end_of_a_line_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "auth.log"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    records = log_files.read("auth", [path], Filter(), None)
    assert max(len(line) for record in records for line in record.lines) <= log_files.LINE_BYTES


def test_what_is_added_is_read_across_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "auth.log"
    path.write_text("old\n")
    follower = Follower(path)
    with path.open("a") as file:
        file.write("one\nhal")
        file.flush()
        assert list(follower.read()) == [b"one\n"]
        file.write("f\n")
    assert list(follower.read()) == [b"half\n"]
    with path.open("a") as file:
        file.write("last\n")
    path.rename(tmp_path / "auth.log.1")
    path.write_text("new\n")
    assert list(follower.read()) == [b"last\n", b"new\n"]
    os.truncate(path, 0)
    with path.open("a") as file:
        file.write("x\n")
    assert list(follower.read()) == [b"x\n"]
    path.unlink()
    assert list(follower.read()) == []
    follower.close()


def test_follow_prints_what_is_added_until_it_is_interrupted(empty_checkout: Checkout, logs: Path) -> None:
    command = [sys.executable, "-m", "kpi_cli", "logs", "--follow", "--json", "--request", "r9"]
    process = subprocess.Popen(command, env=empty_checkout.environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with (logs / "gateway.log").open("a") as file:
            file.write("2026-11-27T22:00:08.000000Z [info     ] request request_id=r9\n")
        assert json.loads(process.stdout.readline())["request_id"] == "r9"
        (logs / "content.log").write_text("2026-11-27T22:00:09.000000Z [info     ] request request_id=r9\n")
        assert json.loads(process.stdout.readline())["part"] == "content"
    finally:
        process.send_signal(2)
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0


def test_a_reader_that_has_seen_enough_ends_it_quietly(empty_checkout: Checkout, logs: Path) -> None:
    (logs / "auth.log").write_text((AUTH[1] + "\n") * 50_000)
    command = [sys.executable, "-m", "kpi_cli", "logs", "-n", "50000"]
    with subprocess.Popen(
        command, env=empty_checkout.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("auth")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
