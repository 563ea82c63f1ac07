"""``kpi up`` as a process, with a real PostgreSQL and stand-ins for the parts."""

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from cli_harness import Checkout
from kpi_cli import PRODUCT, parts
from kpi_shared.testing.process import wait_until


def secrets_of(checkout: Checkout) -> dict[str, str]:
    return {file.name: file.read_text().strip() for file in (checkout.home / "secrets").iterdir()}


def test_first_start_makes_everything_and_ctrl_c_leaves_nothing_running(empty_checkout: Checkout) -> None:
    stack = empty_checkout.up().wait_until_ready()
    names = {process.name() for process in empty_checkout.processes()}
    stack.get("/api/v1/posts")
    stack.wait_for("gateway  | GET /api/v1/posts")

    assert stack.stop(signal.SIGINT) == 0
    assert "postgres" in names
    assert empty_checkout.processes() == []
    assert empty_checkout.status()["status"] == "stopped"
    assert stack.errors == ""
    assert "GET /api/v1/posts" in (empty_checkout.home / "logs" / "gateway.log").read_text()


def test_secrets_are_private_files_and_appear_in_no_process(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    # The file of previous keys is empty until the key is rotated.
    secrets = {name: value for name, value in secrets_of(checkout).items() if value}
    seen = "".join(
        " ".join(process.cmdline()) + str(process.environ()) for process in [*checkout.processes(), psutil.Process()]
    )
    logged = "".join(log.read_text() for log in (checkout.home / "logs").iterdir())
    stack.stop()

    assert len(secrets) == 6 + 2 * len(parts.WITH_DATABASE)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (checkout.home / "secrets").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((checkout.home / "secrets").stat().st_mode) == 0o700
    for name, value in secrets.items():
        assert value not in seen + logged + stack.output + checkout.kpi("status").stdout, name


def test_second_start_keeps_data_keys_and_ports(checkout: Checkout) -> None:
    first = checkout.up().wait_until_ready()
    kept, address = secrets_of(checkout), checkout.status()["postgres_address"]
    first.stop()
    second = checkout.up().wait_until_ready()
    assert secrets_of(checkout) == kept
    assert checkout.status()["postgres_address"] == address
    assert second.stop(signal.SIGTERM) == 0
    assert "made" not in second.output
    assert "created" not in second.output


def test_start_after_kill_9_ends_the_processes_of_the_last_run(checkout: Checkout) -> None:
    first = checkout.up().wait_until_ready()
    first.stop(signal.SIGKILL)
    orphans = checkout.processes()
    second = checkout.up()
    second.wait_for("the last run was killed")
    second.wait_until_ready()

    assert len(orphans) == len(parts.PARTS) + 1
    assert not any(orphan.is_running() for orphan in orphans)
    assert second.get("/") == b"ok"
    assert second.stop() == 0
    assert checkout.processes() == []


def test_status_after_kill_9_names_what_still_runs_and_the_command_that_ends_it(checkout: Checkout) -> None:
    checkout.up().wait_until_ready().stop(signal.SIGKILL)
    status = checkout.kpi("status")
    as_json = json.loads(checkout.kpi("status", "-o", "json").stdout)
    pids = sorted(process.pid for process in checkout.processes())

    assert status.returncode == 1
    assert "it was killed, but some of its processes are still running: " in status.stderr
    for name in (*(part.name for part in parts.PARTS), "postgres"):
        assert f"{name} (pid " in status.stderr
    assert as_json["status"] == "killed"
    assert sorted(map(int, as_json["left_pids"].split())) == pids
    fix = status.stderr.splitlines()[-1].removeprefix("  Fix: ")
    command, _, rest = fix.partition(", ")
    assert rest == "or stop them and start again: make up"
    subprocess.run(["sh", "-c", command], check=True)
    wait_until(lambda: not checkout.processes())
    assert "it is not running" in checkout.kpi("status").stderr


def test_second_up_reports_the_running_one(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    result = checkout.kpi("up")
    address = checkout.status()["gateway_url"]
    assert result.returncode == 1
    assert f"it is already up at {address} (pid {stack.process.pid})" in result.stderr
    assert stack.stop() == 0


def kill(checkout: Checkout, package: str) -> None:
    next(process for process in checkout.processes() if package in process.cmdline()).kill()


@pytest.mark.parametrize("part", ["gateway", "content"])
def test_part_that_is_killed_is_started_again_and_reported_in_two_lines(checkout: Checkout, part: str) -> None:
    stack = checkout.up().wait_until_ready()
    before = checkout.status()
    kill(checkout, f"kpi_{part}")
    stack.wait_for(f"kpi      | {part} was killed by signal SIGKILL: it is started again in 0.2 s")
    stack.wait_for(f"kpi      | {part} is ready")
    wait_until(lambda: checkout.status() == before)
    assert stack.get("/") == b"ok"
    assert stack.stop() == 0
    assert (checkout.home / "logs" / f"{part}.log").read_text().count("says hello") == 2
    assert stack.errors == ""
    assert checkout.processes() == []


@pytest.mark.parametrize("part", ["gateway", "content"])
def test_part_that_ends_again_and_again_stops_the_stack_and_is_reported_with_its_last_lines(
    checkout: Checkout, part: str
) -> None:
    stack = checkout.up().wait_until_ready()
    checkout.order(f"exit-{part}")
    assert stack.end() == 1
    said = f"kpi      | {part} ended with exit code 3 on its own: it is started again in"
    assert [line for line in stack.lines if said in line] == [f"{said} {pause} s" for pause in ("0.2", "1", "3")]
    assert (
        f"kpi: {part}: it ended with exit code 3 on its own again, after 3 starts within 60 seconds, so the stack stops"
        in stack.errors
    )
    assert f"  {part} | {part} says goodbye" in stack.errors
    assert "Traceback" not in stack.errors
    assert checkout.processes() == []


def test_ctrl_c_while_a_part_is_started_again_leaves_nothing_running(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    checkout.order("exit-content")
    stack.wait_for("it is started again in 3 s")
    status = checkout.status()["status"]
    assert stack.stop() == 0
    assert status == "starting"
    # There is no line for the part that did not run.
    stopped = [part.name for part in reversed(parts.PARTS) if part.name != "content"]
    assert stack.lines[stack.lines.index("kpi      | stopping") + 1 :] == [
        f"kpi      | {text}" for text in (*(f"{name} stopped" for name in [*stopped, "postgres"]), "stopped")
    ]
    assert stack.errors == ""
    assert checkout.processes() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_database_that_ends_is_started_again(checkout: Checkout, number: signal.Signals) -> None:
    stack = checkout.up().wait_until_ready()
    postmaster = int((checkout.home / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, number)
    stack.wait_for("it is started again in 0.2 s")
    stack.wait_for("kpi      | postgres is ready")
    with psycopg.connect((checkout.home / "secrets" / "auth_database_url").read_text().strip()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert stack.stop() == 0
    assert stack.errors == ""
    assert checkout.processes() == []


def test_failed_migration_stops_the_start_and_is_reported(checkout: Checkout) -> None:
    checkout.order("no-migration-content")
    (checkout.home / "migrations.json").unlink()
    stack = checkout.up()
    assert stack.end() == 1
    assert "kpi: content: its migrations ended with exit code 1" in stack.errors
    assert "content | kpi-stand-in: this migration fails" in stack.errors
    assert "kpi migrate content" in stack.errors
    assert checkout.processes() == []


def test_migrations_run_again_only_when_something_changed(checkout: Checkout) -> None:
    # The checkout has been migrated already: another migration would fail, and the start with it.
    checkout.order("no-migration-content")
    stack = checkout.up().wait_until_ready()
    assert stack.stop() == 0


def test_ctrl_c_during_the_start_leaves_nothing_running(checkout: Checkout) -> None:
    checkout.order("slow-gateway")
    stack = checkout.up()
    stack.wait_for("content is ready")
    assert stack.stop() == 0
    assert f"{PRODUCT} is up" not in stack.output
    assert checkout.processes() == []


def test_ctrl_c_reports_each_process_in_one_line(checkout: Checkout) -> None:
    stack = checkout.up(MAIL_URL="smtp://user:secret@mail.example:25").wait_until_ready()
    card = checkout.kpi("status").stdout
    assert stack.stop() == 0
    names = (*(part.name for part in reversed(parts.PARTS)), "postgres")
    # What the parts log while they stop, as their stand-ins do, is in their files.
    assert stack.lines[stack.lines.index("kpi      | stopping") + 1 :] == [
        f"kpi      | {text}" for text in (*(f"{name} stopped" for name in names), "stopped")
    ]
    assert "auth is shutting down" in (checkout.home / "logs" / "auth.log").read_text()
    # The running stack's mail server is shown, whatever is set in the shell that asks.
    assert "smtp://mail.example:25 (MAIL_URL in the shell)" in card
    assert "secret" not in card + stack.output


def test_closed_output_stops_the_stack(checkout: Checkout) -> None:
    command = f"{sys.executable} -m kpi_cli up | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], env=checkout.environment(), capture_output=True, timeout=60, check=True
    )
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""
    assert checkout.processes() == []


def test_explicit_port_in_use_is_one_sentence(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        by_variable = checkout.kpi("up", GATEWAY_PORT=str(port))
        by_option = checkout.kpi("up", "--port", str(port))
    for result in (by_variable, by_option):
        assert result.returncode == 1
        assert f"kpi: gateway: port {port} was set explicitly and is in use" in result.stderr
        assert "Traceback" not in result.stderr


def test_two_checkouts_run_side_by_side(checkout: Checkout, other_checkout: Checkout) -> None:
    one, other = checkout, other_checkout
    (other.home / "ports.json").write_bytes((one.home / "ports.json").read_bytes())
    first = one.up().wait_until_ready()
    second = other.up()
    notice = second.wait_for("is in use by another program")
    second.wait_until_ready()
    address = other.status()["gateway_url"]
    assert one.status()["gateway_url"] != address
    assert first.get("/") == second.get("/") == b"ok"
    assert "remembered for this checkout" in notice
    assert second.stop() == 0
    again = other.up().wait_until_ready()
    assert other.status()["gateway_url"] == address
    assert again.stop() == 0
    assert first.stop() == 0


def test_data_of_another_postgresql_version_is_one_sentence(empty_checkout: Checkout) -> None:
    data = empty_checkout.home / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("16\n")
    result = empty_checkout.kpi("up")
    assert result.returncode == 1
    assert "created by PostgreSQL 16, and this stack runs 18" in result.stderr
    assert f"mv {data} {data}-16" in result.stderr
    assert "Traceback" not in result.stderr


def test_lost_password_is_one_sentence(checkout: Checkout) -> None:
    (checkout.home / "secrets" / "postgres_password").unlink()
    stack = checkout.up()
    assert stack.end() == 1
    assert "is not the one that its data was created with" in stack.errors
    assert "Traceback" not in stack.errors
    assert checkout.processes() == []


def test_settings_for_other_databases_do_not_reach_the_parts(checkout: Checkout) -> None:
    ignored = {"DATABASE_URL": "postgresql://other@127.0.0.1:1/none", "PGHOST": "127.0.0.1", "PGPORT": "1"}
    (checkout.home / "migrations.json").unlink()
    stack = checkout.up(**ignored).wait_until_ready()
    assert stack.stop() == 0
    assert "DATABASE_URL in your shell is ignored: the local stack has its own" in stack.output


def test_bad_key_is_one_sentence_before_anything_starts(checkout: Checkout) -> None:
    key = checkout.home / "secrets" / "auth_secret_key"
    key.write_text("k" * 36 + "\n")
    result = checkout.kpi("up")
    assert result.returncode == 1
    assert "auth_secret_key: 64 hex digits are required, but it has 36 characters" in result.stderr
    assert f"rm {key} && make up" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_status_for_a_shell(checkout: Checkout) -> None:
    stopped = checkout.kpi("status", "-o", "env")
    stack = checkout.up().wait_until_ready()
    running = checkout.kpi("status", "-o", "env")
    card = checkout.kpi("status")
    as_json = checkout.kpi("status", "-o", "json")
    known = checkout.status()
    stack.stop()
    assert json.loads(as_json.stdout) == known
    assert stopped.returncode == 1
    assert "KPI_STATUS=stopped" in stopped.stdout
    assert running.returncode == 0
    script = f"{running.stdout}\necho $KPI_GATEWAY_URL"
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout.strip() in card.stdout
    assert "below this card" in stack.output
    assert "below this card" not in card.stdout
    assert Path(checkout.home / "logs").is_dir()


@contextmanager
def unread_up(checkout: Checkout, make: Callable[[], tuple[int, int]]) -> Iterator["subprocess.Popen[bytes]"]:
    """A ``kpi up`` that is ready and has logged more than its terminal takes; nothing reads the terminal."""
    reader, writer = make()
    process = subprocess.Popen(
        [sys.executable, "-m", "kpi_cli", "up"],
        env=checkout.environment(),
        cwd=checkout.folder,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        start_new_session=True,
    )
    os.close(writer)
    wait_until(lambda: checkout.status()["status"] == "ready")
    for _ in range(3):
        assert checkout.get("/chatter") == b"ok"
    yield process
    os.close(reader)
    assert checkout.processes() == []


@pytest.mark.parametrize("make", [os.pipe, pty.openpty], ids=["pipe", "terminal"])
def test_a_terminal_that_is_not_read_stops_neither_the_stack_nor_its_end(
    checkout: Checkout, make: Callable[[], tuple[int, int]]
) -> None:
    with unread_up(checkout, make) as process:
        assert checkout.get("/last") == b"ok"
        log = checkout.home / "logs" / "gateway.log"
        wait_until(lambda: "GET /last" in log.read_text())
        assert log.read_text().count("line 9999 ") == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_failure_does_not_wait_for_a_terminal_that_is_not_read(checkout: Checkout) -> None:
    with unread_up(checkout, pty.openpty) as process:
        checkout.order("exit-gateway")
        assert process.wait(60) == 1
