"""Commands that use the local stack's database, running or stopped, with stand-ins for the parts."""

import gzip
import itertools
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
from cli_harness import Checkout

# The tests of one worker share a database, so each file of posts has numbers of its own.
NUMBERS = itertools.count(1)


def post(author: str, points: object) -> str:
    fields = {"title": "A title", "url": "", "comments": 0, "created_at": "2015-09-06T05:56Z"}
    return json.dumps({"id": next(NUMBERS), "author": author, "points": points, **fields}) + "\n"


@pytest.fixture
def posts(checkout: Checkout) -> Path:
    file = checkout.folder / "posts.jsonl.gz"
    file.write_bytes(gzip.compress((post("ada", 2) + post("grace", 0) + post("ada", 1)).encode()))
    return file


def test_load_into_a_stopped_stack_adds_once(checkout: Checkout, posts: Path) -> None:
    first = checkout.kpi("load", str(posts))
    second = checkout.kpi("load", str(posts))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert f"Added 3 of 3 posts of {posts.name}, with 3 votes." in first.stdout
    assert "Nothing to add" in second.stdout
    assert checkout.processes() == []


def test_load_into_a_running_stack_leaves_it_running(checkout: Checkout, posts: Path) -> None:
    stack = checkout.up().ready()
    result = checkout.kpi("load", str(posts))
    assert result.returncode == 0, result.stderr
    assert "Added 3 of 3" in result.stdout
    assert stack.get("/") == b"ok"
    assert stack.stop() == 0


def test_bad_line_stops_the_load_before_anything_starts(checkout: Checkout) -> None:
    file = checkout.folder / "posts.jsonl"
    file.write_text(post("ada", 1) + post("ada", "many"))
    result = checkout.kpi("load", str(file))
    assert result.returncode == 1
    assert f"kpi: load: {file.name} line 2: field points: a whole number needed, got a text" in result.stderr
    assert "its database is started" not in result.stderr


def test_failing_import_names_the_part_and_its_last_lines(checkout: Checkout, posts: Path) -> None:
    checkout.order("no-import-content")
    result = checkout.kpi("load", str(posts))
    assert result.returncode == 1
    assert "kpi: content: import-posts ended with exit code 1" in result.stderr
    assert "content | kpi-stand-in: this import fails" in result.stderr
    assert "Traceback" not in result.stderr
    assert checkout.processes() == []


def test_disk_that_fills_during_an_import_is_named(checkout: Checkout, posts: Path) -> None:
    checkout.order("full-disk-content")
    result = checkout.kpi("load", str(posts))
    assert result.returncode == 1
    assert "kpi: disk: it is full: import-posts ended" in result.stderr
    assert "mend it: free some space, then the same command again" in result.stderr


def test_roles_reach_their_own_database_only(checkout: Checkout) -> None:
    stack = checkout.up().ready()
    url = (checkout.home / "secrets" / "auth_database_url").read_text().strip()
    try:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TEMPORARY TABLE mine (id int)")
            superuser = connection.execute("SHOW is_superuser").fetchone()
            hashed = connection.execute("SHOW password_encryption").fetchone()
        assert superuser == ("off",)
        assert hashed == ("scram-sha-256",)
        for database in ("kpi_content", "postgres", "template1"):
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(url.rpartition("/")[0] + f"/{database}")
        password = url.split(":")[2].partition("@")[0]
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url.replace(password, "wrong"))
    finally:
        stack.stop()


def test_migrate_uses_the_database_that_is_named(checkout: Checkout) -> None:
    stack = checkout.up().ready()
    url = (checkout.home / "secrets" / "auth_database_url").read_text().strip()
    named = checkout.kpi("migrate", "auth", DATABASE_URL=url)
    unnamed = checkout.kpi("migrate", DATABASE_URL=url)
    stack.stop()
    assert named.returncode == 0
    assert "auth is at the newest migration" in named.stdout
    assert unnamed.returncode == 1
    assert "DATABASE_URL names one database" in unnamed.stderr


def test_run_passes_options_and_exit_code_on(checkout: Checkout) -> None:
    helped = checkout.kpi("run", "auth", "--help")
    failed = checkout.kpi("run", "auth", "--nonsense")
    unknown = checkout.kpi("run", "billing")
    assert helped.returncode == 0
    assert "--port" in helped.stdout
    assert failed.returncode == 2
    assert unknown.returncode == 2
    assert "there is no such part, only auth, content, gateway" in unknown.stderr


def test_doctor_finds_nothing_wrong_and_leaves_nothing_running(checkout: Checkout) -> None:
    result = checkout.kpi("doctor", "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 0, result.stdout
    assert report["ok"] is True
    checks = {finding["check"] for finding in report["findings"]}
    assert {"python", "libsodium", "disk", "clock", "gateway port", "key", "postgres"} <= checks
    assert {"auth migrations", "content migrations"} <= checks
    assert checkout.processes() == []


def test_doctor_names_what_is_wrong_and_what_mends_it(checkout: Checkout) -> None:
    checkout.order("sick-content")
    key = checkout.home / "secrets" / "paseto_secret_key"
    key.write_text("0" * 64 + "\n")
    result = checkout.kpi("doctor", "--json", PASETO_SECRET_KEY="x" * 36)
    wrong = {
        finding["detail"]: finding["fix"] for finding in json.loads(result.stdout)["findings"] if not finding["ok"]
    }
    assert result.returncode == 1
    # The local stack does not use the shell's key, so that one is told and is not wrong.
    assert "PASETO_SECRET_KEY: 64 hex digits needed, got 36 characters; for .venv/bin/kpi run only" in result.stdout
    assert "export PASETO_SECRET_KEY" not in str(wrong)
    assert any(detail.endswith("paseto_secret_key: it is all zeros") for detail in wrong)
    assert wrong["one migration behind"] == ".venv/bin/kpi migrate content"
    assert "x" * 36 not in result.stdout


def test_doctor_before_the_first_start_makes_nothing(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("doctor")
    assert result.returncode == 0, result.stdout
    assert "none made yet" in result.stdout
    assert not (empty_checkout.home / "postgres").exists()
    assert not (empty_checkout.home / "secrets").exists()


def findings(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_doctor_leaves_what_a_killed_run_left_behind_and_names_it(checkout: Checkout) -> None:
    stack = checkout.up().ready()
    stack.stop(signal.SIGKILL)
    orphans = checkout.processes()
    found = findings(checkout.kpi("doctor", "--json"))
    assert len(orphans) == 4
    assert all(orphan.is_running() for orphan in orphans)
    assert all(str(orphan.pid) in found["leftovers"]["detail"] for orphan in orphans)
    assert found["leftovers"]["fix"] == "make up"
    assert found["gateway port"]["detail"].endswith("is held by what a killed run left behind")
    assert found["postgres"]["ok"]


def test_doctor_names_the_last_line_of_a_database_that_does_not_start(
    checkout: Checkout, other_checkout: Checkout
) -> None:
    (other_checkout.home / "ports.json").write_bytes((checkout.home / "ports.json").read_bytes())
    (other_checkout.home / "postgres" / "global" / "pg_control").unlink()
    before = sorted(other_checkout.home.iterdir())
    found = findings(other_checkout.kpi("doctor", "--json"))["postgres"]
    assert "pg_control" in found["detail"]
    assert f"mv {other_checkout.home}/postgres {other_checkout.home}/postgres-aside && make up" in found["fix"]
    assert "doctor" not in found["fix"]
    assert sorted(other_checkout.home.iterdir()) == before


def test_doctor_with_a_lost_secret_makes_none(checkout: Checkout) -> None:
    lost = checkout.home / "secrets" / "auth_database_password"
    lost.unlink()
    assert "auth_database_password" in findings(checkout.kpi("doctor", "--json"))["secrets"]["detail"]
    assert not lost.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root owns what root copied")
def test_data_that_root_copied_is_given_back_by_a_start_and_not_by_doctor(
    checkout: Checkout, other_checkout: Checkout
) -> None:
    (other_checkout.home / "ports.json").write_bytes((checkout.home / "ports.json").read_bytes())
    data = other_checkout.home / "postgres"
    shutil.rmtree(data)
    subprocess.run(["cp", "-r", checkout.home / "postgres", data], check=True)
    found = findings(other_checkout.kpi("doctor", "--json"))["postgres"]
    assert "belongs to root, and PostgreSQL runs as pgserver" in found["detail"]
    assert data.stat().st_uid == 0
    stack = other_checkout.up().ready()
    assert stack.stop() == 0
    assert "is given back to pgserver" in stack.output
    assert {path.stat().st_uid for path in data.rglob("*")} == {data.stat().st_uid}


@pytest.mark.parametrize(
    ("part", "wanted"),
    [("content", "$DATABASE_URL_FILE$DATABASE_URL"), ("auth", "$PASETO_SECRET_KEY_FILE"), ("gateway", "$AUTH_URL")],
)
def test_env_is_for_a_shell(checkout: Checkout, part: str, wanted: str) -> None:
    # DATABASE_URL would win over the file, so it has to go.
    result = checkout.kpi("env", part, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert result.returncode == 0, result.stderr
    script = f"DATABASE_URL=foreign; {result.stdout}\necho {wanted}"
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    port = json.loads((checkout.home / "ports.json").read_text())["auth"]
    assert said == f"http://127.0.0.1:{port}" if part == "gateway" else Path(said).exists()


def test_env_before_the_first_start_is_one_sentence(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("env", "auth")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "kpi: auth: the local stack has no settings yet" in result.stderr


def test_run_without_settings_names_those_of_the_local_stack(checkout: Checkout) -> None:
    mend = 'eval "$(.venv/bin/kpi env auth)"'
    assert mend in checkout.kpi("run", "auth", "--nonsense").stderr
    assert mend not in checkout.kpi("run", "auth", "--nonsense", DATABASE_URL="postgresql://a:b@127.0.0.1:1/c").stderr
