"""The first ring of an installation, and the files that it is in."""

import fcntl
import os
import secrets
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import kpi_cli
import pytest
from kpi_cli import secret_files
from kpi_cli.errors import FailureError
from kpi_cli.token_keys import files, paserk
from kpi_cli.token_keys.paserk import Purpose
from kpi_cli.token_keys.ring import State, dump, now


def write_former(folder: Path, current: str, *previous: str) -> None:
    secret_files.write(folder / files.FORMER_KEY, current)
    secret_files.write(folder / files.FORMER_PREVIOUS_KEYS, ",".join(previous))


def test_the_keys_of_before_become_a_ring_in_which_every_token_stays_valid(tmp_path: Path) -> None:
    current, previous = secrets.token_hex(32), secrets.token_hex(32)
    write_former(tmp_path, current, previous)
    assert files.ensure(tmp_path, None)
    ring = files.store_in(tmp_path).read()
    texts = [paserk.encode("local", bytes.fromhex(key)) for key in (current, previous)]
    assert [(key.text, key.state) for key in ring.keys] == [(texts[0], State.ACTIVE), (texts[1], State.VERIFY_ONLY)]
    assert not files.ensure(tmp_path, None)
    # A version of before the ring can still start, as long as its key is in the ring.
    assert (tmp_path / files.FORMER_KEY).exists()
    files.store_in(tmp_path).update(lambda it: it.announce(now()).activate(now()).kill(it.keys[0].kid, now()))
    files.ensure(tmp_path, None)
    assert not (tmp_path / files.FORMER_KEY).exists()


def test_what_auth_derived_from_the_keys_of_before_stays_valid_after_any_rotation(tmp_path: Path) -> None:
    current, previous = secrets.token_hex(32), secrets.token_hex(32)
    write_former(tmp_path, current, previous)
    files.ensure(tmp_path, None)
    kept = tmp_path / files.FORMER_FOR_SESSIONS
    assert kept.read_text().strip() == f"{current},{previous}"
    store = files.store_in(tmp_path)
    for _ in range(2):
        store.update(lambda it: it.announce(now()).activate(now()).retire(now(), older_than=timedelta(0)))
        files.ensure(tmp_path, None)
    assert not (tmp_path / files.FORMER_KEY).exists()
    assert kept.read_text().strip() == f"{current},{previous}"


@pytest.mark.parametrize("purpose", Purpose)
def test_the_first_ring_is_made_elsewhere(tmp_path: Path, purpose: Purpose) -> None:
    ring = files.make_first(tmp_path / "own", [tmp_path / "copy"], purpose, [])
    assert ([key.state for key in ring.keys], ring.purpose) == ([State.ACTIVE], purpose)
    assert (tmp_path / "copy").read_text().strip() == dump(ring.for_verifiers())
    with pytest.raises(FailureError, match="own exists already"):
        files.make_first(tmp_path / "own", [], purpose, [])


def test_the_first_ring_can_have_the_keys_of_before(tmp_path: Path) -> None:
    current, previous = secrets.token_hex(32), secrets.token_hex(32)
    write_former(tmp_path, current, previous)
    former = [tmp_path / files.FORMER_KEY, tmp_path / files.FORMER_PREVIOUS_KEYS]
    ring = files.make_first(tmp_path / "own", [], Purpose.LOCAL, former)
    assert [key.text for key in ring.keys] == [
        paserk.encode("local", bytes.fromhex(key)) for key in (current, previous)
    ]
    assert [key.state for key in ring.keys] == [State.ACTIVE, State.VERIFY_ONLY]
    with pytest.raises(FailureError, match="keys in hex digits are of no public ring"):
        files.make_first(tmp_path / "other", [], Purpose.PUBLIC, former)
    former[0].write_text("k" * 64)
    with pytest.raises(FailureError, match="a former key: 64 hex digits are required"):
        files.make_first(tmp_path / "other", [], Purpose.LOCAL, former)


def test_a_new_installation_has_no_keys_of_before(tmp_path: Path) -> None:
    files.ensure(tmp_path, None)
    assert (tmp_path / files.FORMER_FOR_SESSIONS).read_text().strip() == ""


def test_another_purpose_keeps_what_is_killed_and_is_said(tmp_path: Path) -> None:
    files.ensure(tmp_path, Purpose.LOCAL)
    killed = files.store_in(tmp_path).update(lambda it: it.announce(now()).kill(it.keys[0].kid, now())).keys[1]
    said = files.ensure(tmp_path, Purpose.PUBLIC)
    assert said.startswith("replaced the local key ring by a public one")
    ring = files.store_in(tmp_path).read()
    assert [(key.kid == killed.kid, key.state) for key in ring.keys] == [(False, State.ACTIVE), (True, State.KILLED)]
    assert files.ensure(tmp_path, None) == ""


def test_in_containers_the_parts_follow_the_purpose_of_the_ring(tmp_path: Path) -> None:
    for demanded, purpose in (("public", "public"), ("", "public"), ("local", "local")):
        made = run(tmp_path, "ensure", TOKEN_PURPOSE=demanded)
        assert made.returncode == 0, made.stderr
        assert (tmp_path / files.PURPOSE).read_text().strip() == purpose
    assert "replaced the public key ring by a local one" in made.stderr


def test_a_bad_key_of_before_is_refused(tmp_path: Path) -> None:
    write_former(tmp_path, "k" * 36)
    with pytest.raises(FailureError, match=f"{files.FORMER_KEY}: 64 hex digits are required"):
        files.ensure(tmp_path, None)
    assert not (tmp_path / files.RING).exists()


def test_the_parts_that_verify_get_no_secret_key(tmp_path: Path) -> None:
    files.ensure(tmp_path, Purpose.PUBLIC)
    own, other = ((tmp_path / name).read_text() for name in (files.RING, files.VERIFIERS))
    assert "k4.secret." in own
    assert "k4.public." in other
    assert "k4.secret." not in other
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_the_purpose_stays_until_another_one_is_demanded(tmp_path: Path) -> None:
    files.ensure(tmp_path, Purpose.PUBLIC)
    first = files.store_in(tmp_path).read()
    assert not files.ensure(tmp_path, None)
    assert files.store_in(tmp_path).read() == first
    assert files.purpose_in(tmp_path) is Purpose.PUBLIC
    assert files.ensure(tmp_path, Purpose.LOCAL)
    ring = files.store_in(tmp_path).read()
    assert (ring.purpose, [key.state for key in ring.keys]) == (Purpose.LOCAL, [State.ACTIVE])


def test_a_lost_copy_is_made_again(tmp_path: Path) -> None:
    files.ensure(tmp_path, None)
    (tmp_path / files.VERIFIERS).unlink()
    files.ensure(tmp_path, None)
    assert (tmp_path / files.VERIFIERS).read_text().strip() == dump(files.store_in(tmp_path).read())


def test_the_ring_is_kept_or_made_under_the_lock_of_all_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = secret_files.write

    def write_while_nobody_else_can(path: Path, text: str) -> None:
        if path.name in {files.RING, files.VERIFIERS}:
            with (tmp_path / f".{files.RING}.lock").open() as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            written.append(path.name)
        write(path, text)

    written: list[str] = []
    monkeypatch.setattr(secret_files, "write", write_while_nobody_else_can)
    files.ensure(tmp_path, None)
    (tmp_path / files.VERIFIERS).unlink()
    files.ensure(tmp_path, None)
    assert written == [files.RING, files.VERIFIERS, files.VERIFIERS]


def run(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    # -S and another folder: as in the image of auth, where only the standard library and the parts are.
    command = [sys.executable, "-S", "-m", "kpi_cli.token_keys", "--folder", str(folder), *arguments]
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(
        command, cwd=Path(kpi_cli.__file__).parents[1], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of files")
@pytest.mark.parametrize("purpose", Purpose)
def test_in_containers_a_change_keeps_the_readers_of_each_file(tmp_path: Path, purpose: Purpose) -> None:
    owners = (f"--owner={files.RING}=10001", f"--owner={files.VERIFIERS}=10001:10000")
    made = run(tmp_path, "ensure", *owners, TOKEN_PURPOSE=purpose)
    assert made.returncode == 0, made.stderr
    files.store_in(tmp_path).update(lambda it: it.announce(now()))
    ring, verifiers = (tmp_path / name for name in (files.RING, files.VERIFIERS))
    assert (ring.stat().st_uid, stat.S_IMODE(ring.stat().st_mode)) == (10001, 0o400)
    found = verifiers.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (10001, 10000, 0o440)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o711


def test_a_purpose_that_there_is_not_is_one_sentence(tmp_path: Path) -> None:
    refused = run(tmp_path, "ensure", TOKEN_PURPOSE="secret")
    assert refused.returncode == 2
    assert "TOKEN_PURPOSE is secret" in refused.stderr
    assert "Traceback" not in refused.stderr
