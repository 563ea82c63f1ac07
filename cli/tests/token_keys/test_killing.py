"""The end of a key that others may know: what becomes of the ring, and that nothing of it is silent."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kpi_cli import auth_process
from kpi_cli.errors import FailureError
from kpi_cli.token_keys import __main__, files
from kpi_cli.token_keys.killing import Killer, describe_stop
from kpi_cli.token_keys.ring import State, now
from ring_house import PARTS, House


def kill(house: House, beginning: str) -> str:
    return Killer(house.store, house.ask, PARTS, house.said.append).run(beginning)


def test_an_active_key_is_killed_after_another_one_is_active(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_cli.token_keys.killing.time.sleep", house.sleep)
    active = house.store.read().active
    assert active is not None
    assert kill(house, active.kid[:13]) == active.kid
    assert house.states == [State.ACTIVE, State.KILLED]
    assert house.killed == [active.kid]
    # The text of a key that may be known to others is removed too.
    assert house.store.read().keys[1].text is None
    assert house.store.read().rotation is None
    # A second time, as after a failure of auth, only auth is told again.
    kill(house, active.kid)
    assert house.states == [State.ACTIVE, State.KILLED]
    assert house.killed == [active.kid] * 2


def test_a_kill_does_not_wait_for_a_process_for_long(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_cli.token_keys.killing._PATIENCE_SECONDS", 0.0)
    house.slow = {"content-1"}
    active = house.store.read().active
    assert active is not None
    kill(house, active.kid)
    assert house.states == [State.ACTIVE, State.KILLED]
    assert any(line.startswith("not waiting any longer for") for line in house.said)


def test_during_a_rotation_the_next_key_takes_the_place_of_the_one_that_is_killed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpi_cli.token_keys.killing.time.sleep", house.sleep)
    ring = house.store.update(lambda it: it.announce(now()))
    assert ring.active is not None
    assert ring.next is not None
    kill(house, ring.active.kid)
    changed = house.store.read()
    assert changed.active is not None
    assert changed.active.kid == ring.next.kid
    assert (house.states, changed.rotation) == ([State.ACTIVE, State.KILLED], None)


def test_a_key_that_is_killed_before_it_was_activated_ends_its_rotation(house: House) -> None:
    ring = house.store.update(lambda it: it.announce(now()))
    assert ring.next is not None
    kill(house, ring.next.kid)
    assert (house.states, house.store.read().rotation) == ([State.KILLED, State.ACTIVE], None)


def test_a_key_that_is_not_in_the_ring_is_killed_by_its_whole_id_only(house: House) -> None:
    kid = "k4.lid." + "A" * 44
    kill(house, kid)
    assert house.killed == [kid]
    assert house.states == [State.ACTIVE, State.KILLED]
    with pytest.raises(FailureError, match="no key has this id"):
        kill(house, "k4.lid.BBBBBB")
    one, other = (f"k4.lid.AAAAAA{end * 38}" for end in "AB")
    house.store.update(lambda it: it.kill(other, now()))
    assert house.store.read().find(one) == one
    with pytest.raises(FailureError, match="2 keys have ids that begin so"):
        kill(house, "k4.lid.AAAAAA")


@pytest.mark.parametrize("beginning", ["", "k", "k4.lid.", "all", 5])
def test_no_key_is_killed_by_a_few_characters(house: House, beginning: str | int) -> None:
    # The ring has one key, which all of these mean.
    given = beginning if isinstance(beginning, str) else active_kid(house)[: len("k4.lid.") + beginning]
    with pytest.raises(FailureError, match="the id of a key is needed, or 6 characters of it"):
        kill(house, given)
    assert (house.states, house.killed) == ([State.ACTIVE], [])


def active_kid(house: House) -> str:
    active = house.store.read().active
    assert active is not None
    return active.kid


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_it_is_said_at_once_that_the_key_is_not_killed_yet(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_cli.token_keys.killing.time.sleep", interrupt)
    kid = active_kid(house)
    with pytest.raises(KeyboardInterrupt):
        kill(house, kid)
    assert house.said[0].startswith(f"{kid} mints now and is NOT killed yet")
    # Each question to auth ends with the patience.
    assert house.limits
    assert all(seconds is not None and 0 < seconds <= 10 for seconds in house.limits)
    stopped = describe_stop(house.store, kid[:13])
    assert (stopped.sentence, stopped.code) == (f"stopped: {kid} is NOT killed", 130)
    assert stopped.fix.endswith(f"keys kill {kid} --now")


def test_a_stop_after_the_kill_says_that_auth_may_not_know_it(house: House) -> None:
    kid = active_kid(house)

    def ask(command: str, request: Mapping[str, object], *, seconds: float | None = None) -> dict[str, Any]:
        if request["action"] == "kill":
            raise KeyboardInterrupt
        return house.ask(command, request, seconds=seconds)

    with pytest.raises(KeyboardInterrupt):
        Killer(house.store, ask, (), house.said.append, at_once=True).run(kid)
    assert "is killed in the key ring, but auth may not have stored it" in describe_stop(house.store, kid).sentence


def test_an_auth_that_cannot_store_the_kill_is_named_with_what_is_done(house: House) -> None:
    kid = active_kid(house)

    def fail(command: str, request: Mapping[str, object], *, seconds: float | None = None) -> dict[str, Any]:
        raise FailureError("auth", "the database is down")

    with pytest.raises(FailureError, match=f"{kid} is killed in the key ring, but auth could not store it: the data"):
        Killer(house.store, fail, PARTS, house.said.append, at_once=True).run(kid)
    assert house.states == [State.ACTIVE, State.KILLED]


def test_now_asks_no_part_before_the_kill(house: House) -> None:
    house.slow = {"content-1"}
    kid = active_kid(house)
    Killer(house.store, house.ask, PARTS, house.said.append, at_once=True).run(kid)
    assert house.states == [State.ACTIVE, State.KILLED]
    assert (house.killed, len(house.limits)) == ([kid], 1)
    assert not any("NOT killed yet" in line for line in house.said)


def test_the_command_in_containers_says_what_a_stop_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files.ensure(tmp_path, None)
    monkeypatch.setattr(__main__, "ask", interrupt_with_time)
    active = files.store_in(tmp_path).read().active
    assert active is not None
    assert __main__.main(["--folder", str(tmp_path), "kill", active.kid]) == 130
    assert f"stopped: {active.kid} is NOT killed" in capsys.readouterr().err


def interrupt_with_time(command: str, request: Mapping[str, object], *, seconds: float | None = None) -> dict[str, Any]:
    raise KeyboardInterrupt


def test_a_command_of_auth_that_does_not_end_is_a_failure() -> None:
    with pytest.raises(FailureError, match="keys did not end within 0 s"):
        auth_process.run(dict(os.environ), "keys", {"action": "holders"}, seconds=0.001)
