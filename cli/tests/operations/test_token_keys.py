"""``kpi keys`` when auth cannot be asked: what is killed all the same, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kpi_cli.token_keys import files
from kpi_cli.token_keys.paserk import Purpose
from kpi_cli.token_keys.ring import Ring, State, parse


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "ring.json"
    files.make_first(path, [tmp_path / "copy.json"], Purpose.LOCAL, [])
    return path


def kpi(tmp_path: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "KPI_HOME": str(tmp_path / "home"), **settings}
    command = [sys.executable, "-m", "kpi_cli", "keys", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def read(path: Path) -> Ring:
    return parse(path.read_text(), str(path))


def test_a_key_is_killed_in_its_file_without_any_database(tmp_path: Path, ring: Path) -> None:
    (key,) = read(ring).keys
    copy = tmp_path / "copy.json"
    killed = kpi(tmp_path, "kill", key.kid, "--now", "--file", str(ring), "--copy", str(copy))
    assert killed.returncode == 2
    for path in (ring, copy):
        assert [(each.state, each.kid == key.kid) for each in read(path).keys] == [
            (State.ACTIVE, False),
            (State.KILLED, True),
        ]
    assert f"{key.kid} is killed in the key ring, but auth could not store it" in killed.stderr.splitlines()[-2]
    assert "refused everywhere" not in killed.stderr
    # No other installation was made, or told.
    assert not (tmp_path / "home").exists()


def test_a_key_of_a_local_stack_whose_database_cannot_start_is_killed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "secrets").mkdir(parents=True)
    files.ensure(home / "secrets", None)
    # A folder that holds no database, so that none can be started in it.
    (home / "postgres").mkdir()
    (home / "postgres" / "PG_VERSION").write_text("9.4\n")
    ring = home / "secrets" / files.RING
    (key,) = read(ring).keys
    killed = kpi(tmp_path, "kill", key.kid)
    assert killed.returncode != 0
    assert [(each.state, each.kid == key.kid) for each in read(ring).keys] == [
        (State.ACTIVE, False),
        (State.KILLED, True),
    ]
    assert "but auth could not store it" in killed.stderr
    assert "Traceback" not in killed.stderr


def test_a_ring_elsewhere_is_not_rotated_without_the_settings_of_its_auth(tmp_path: Path, ring: Path) -> None:
    before = ring.read_text()
    refused = kpi(tmp_path, "rotate", "--file", str(ring))
    assert refused.returncode == 2
    assert "auth cannot be asked" in refused.stderr
    assert ring.read_text() == before
    assert not (tmp_path / "home").exists()
    shown = kpi(tmp_path, "status", "--json", "--file", str(ring))
    assert [key["held_by"] for key in json.loads(shown.stdout)["keys"]] == [{}]


def test_the_first_ring_is_made_by_a_command(tmp_path: Path) -> None:
    path, copy = tmp_path / "own.json", tmp_path / "others.json"
    made = kpi(tmp_path, "ring", str(path), "--copy", str(copy), "--purpose", "public")
    assert made.returncode == 0, made.stderr
    assert ("k4.secret." in path.read_text(), "k4.secret." in copy.read_text()) == (True, False)
    assert kpi(tmp_path, "ring", str(path)).returncode == 2


@pytest.mark.parametrize("content", ["a \u2014 dash".encode(), b"\xff\x00"])
def test_a_file_that_is_no_ring_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(content)
    shown = kpi(tmp_path, "status", "--file", str(path))
    assert shown.returncode == 2
    assert f"{path}: it is no key ring" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_part_that_does_not_exist_is_refused(tmp_path: Path, ring: Path) -> None:
    before = ring.read_bytes()
    refused = kpi(tmp_path, "rotate", "--without", "contnet", "--file", str(ring))
    assert refused.returncode == 2
    assert "content" in refused.stderr
    assert ring.read_bytes() == before
