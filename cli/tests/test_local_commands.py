"""Commands that use the local stack's database, running or stopped, with stand-ins for the parts."""

import gzip
import itertools
import json
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
    assert f"Added 3 of 3 posts of {posts}, with 3 votes." in first.stdout
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
    assert f"{file} line 2: field points: a whole number needed, got a text" in result.stderr
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
    assert wrong["PASETO_SECRET_KEY: 64 hex digits needed, got 36 characters"].startswith("export PASETO_SECRET_KEY")
    assert any(detail.endswith("paseto_secret_key: it is all zeros") for detail in wrong)
    assert wrong["one migration behind"] == "kpi migrate content"
    assert "x" * 36 not in result.stdout


def test_doctor_before_the_first_start_makes_nothing(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("doctor")
    assert result.returncode == 0, result.stdout
    assert "none made yet" in result.stdout
    assert not (empty_checkout.home / "postgres").exists()
    assert not (empty_checkout.home / "secrets").exists()
