"""A rotation step by step: what has to be true before each step, and what a run does that comes after another."""

import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.token_keys import files
from kpi_cli.token_keys.holders import Census, Holder, take_census
from kpi_cli.token_keys.killing import Killer
from kpi_cli.token_keys.overview import describe, next_step
from kpi_cli.token_keys.paserk import Purpose
from kpi_cli.token_keys.ring import KEPT_RETIRED, Ring, State, dump, now, parse
from kpi_cli.token_keys.rotation import LEEWAY_SECONDS, Plan, Rotator
from kpi_cli.token_keys.store import FileStore

TOKEN_SECONDS = 90
PARTS = ("auth", "content")


class House:
    """Processes that read the ring when the test says so; it also replaces the rotation's sleep."""

    def __init__(self, folder: Path, *instances: str) -> None:
        files.ensure(folder, Purpose.LOCAL)
        self.store = files.store_in(folder)
        self.known: dict[str, dict[str, str]] = {}
        self.slow: set[str] = set()
        self.said: list[str] = []
        self.killed: list[object] = []
        self.slept = 0.0
        self.stop_after: int | None = None
        self.instances = instances
        self.read_again()

    def read_again(self) -> None:
        held = {key.kid: key.state.value for key in self.store.read().keys if key.text is not None}
        self.known |= {name: held for name in self.instances if name not in self.slow}

    def ask(self, command: str, request: Mapping[str, object]) -> dict[str, Any]:
        assert command == "keys"
        if request["action"] == "kill":
            self.killed.append(request["kid"])
            return {}
        listed = [{"part": name.partition("-")[0], "instance": name, "keys": keys} for name, keys in self.known.items()]
        return {"holders": listed, "token_seconds": TOKEN_SECONDS}

    def sleep(self, seconds: float) -> None:
        """Time passes for the ring, since its times go back."""
        if self.stop_after is not None:
            self.stop_after -= 1
            if self.stop_after < 0:
                raise KeyboardInterrupt
        self.slept += seconds
        self.read_again()
        self.store.update(lambda ring: pass_time(ring, timedelta(seconds=seconds)))

    def rotate(self, **plan: Any) -> Ring:
        return Rotator(self.store, self.ask, Plan(PARTS, **plan), self.said.append, self.sleep).run()

    @property
    def states(self) -> list[State]:
        return [key.state for key in self.store.read().keys]


def pass_time(ring: Ring, time: timedelta) -> Ring:
    text = dump(ring)
    if ring.rotation is None or ring.rotation.retire_after is None:
        return ring
    after = ring.rotation.retire_after
    return parse(text.replace(f"{after:%Y-%m-%dT%H:%M:%SZ}", f"{after - time:%Y-%m-%dT%H:%M:%SZ}"), "here")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, "auth-1", "auth-2", "content-1")


def test_a_whole_rotation_waits_for_each_process_and_for_the_last_token(house: House) -> None:
    first, began = house.store.read().active, time.monotonic()
    ring = house.rotate()
    assert house.states == [State.ACTIVE, State.RETIRED]
    assert first is not None
    assert ring.active is not None
    assert (ring.keys[1].kid, ring.keys[1].text) == (first.kid, None)
    assert ring.active.kid != first.kid
    # The ring's times have whole seconds.
    assert house.slept + time.monotonic() - began >= TOKEN_SECONDS + LEEWAY_SECONDS - 1
    assert ring.rotation is None
    assert "waiting for auth auth-1, auth auth-2, content content-1 to have the key" in house.said
    assert house.said[-1] == f"retired {first.kid}"


@pytest.mark.parametrize("slow", ["auth-2", "content-1"])
def test_no_key_is_activated_that_a_process_does_not_have(house: House, slow: str) -> None:
    house.slow = {slow}
    house.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        house.rotate()
    assert house.states == [State.NEXT, State.ACTIVE]
    assert house.said[-1] == f"waiting for {slow.partition('-')[0]} {slow} to have the key"


def test_no_key_is_activated_while_no_process_of_a_part_reports(house: House) -> None:
    del house.known["content-1"]
    house.instances = ("auth-1",)
    house.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        house.rotate()
    assert house.states == [State.NEXT, State.ACTIVE]
    assert "content (no process of it reports)" in house.said[-1]


def test_no_key_is_retired_while_a_process_mints_with_it(house: House) -> None:
    house.rotate(wait=0)
    house.stop_after = 20
    house.store.update(lambda ring: ring.announce(now()))
    house.read_again()
    house.slow = {"auth-2"}
    with pytest.raises(KeyboardInterrupt):
        house.rotate()
    assert house.states == [State.ACTIVE, State.VERIFY_ONLY, State.RETIRED]
    assert house.said[-1] == "waiting for auth auth-2 to mint with the key"


@pytest.mark.parametrize("pauses", range(4))
def test_a_run_that_is_stopped_is_continued_and_announces_no_second_key(house: House, pauses: int) -> None:
    house.stop_after = pauses
    with pytest.raises(KeyboardInterrupt):
        house.rotate(wait=3)
    begun = {key.kid for key in house.store.read().keys}
    house.stop_after = None
    ring = house.rotate(wait=3)
    assert {key.kid for key in ring.keys} == begun
    assert house.states == [State.ACTIVE, State.RETIRED]
    assert any(line.startswith("continuing the rotation") for line in house.said)


def test_a_second_rotation_at_once_is_refused(house: House) -> None:
    with house.store.hold_rotation(), pytest.raises(FailureError, match="another rotation is under way"):
        house.rotate()
    house.rotate()


def test_without_waiting_a_later_run_retires_what_is_due(house: House) -> None:
    for _ in range(3):
        house.rotate(retire=False)
    assert house.states == [State.ACTIVE, *[State.VERIFY_ONLY] * 3]
    assert house.slept < TOKEN_SECONDS
    house.rotate(retire=False, wait=0)
    assert house.states == [State.ACTIVE, *[State.RETIRED] * 4]


def test_only_the_last_retired_keys_are_listed(house: House) -> None:
    for _ in range(KEPT_RETIRED + 2):
        house.rotate(wait=0)
    assert house.states == [State.ACTIVE, *[State.RETIRED] * KEPT_RETIRED]


def kill(house: House, beginning: str) -> str:
    return Killer(house.store, house.ask, PARTS, house.said.append).run(beginning)


def test_an_active_key_is_killed_after_another_one_is_active(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_cli.token_keys.killing.time.sleep", house.sleep)
    active = house.store.read().active
    assert active is not None
    assert kill(house, active.kid[:12]) == active.kid
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
        kill(house, "k4.lid.B")
    house.store.update(lambda it: it.announce(now()))
    with pytest.raises(FailureError, match="3 keys have ids that begin so"):
        kill(house, "k4.lid.")


def test_the_overview_says_what_is_next_and_contains_no_key(house: House) -> None:
    def census() -> Census:
        return take_census(house.ask, PARTS)

    assert next_step(house.store.read(), census()).startswith("nothing is under way")
    ring = house.store.update(lambda it: it.announce(now()))
    assert "waiting for auth auth-1" in next_step(ring, census())
    house.read_again()
    assert next_step(ring, census()) == "the next key can be activated: kpi keys rotate continues"
    ring = house.store.update(lambda it: it.activate(now()))
    assert "to mint with the key" in next_step(ring, census())
    ring = house.store.update(lambda it: it.confirm(now(), timedelta(seconds=60)))
    assert "the old key is retired in " in next_step(ring, census())
    shown = describe(ring, census())
    assert shown["keys"][0]["held_by"] == {"auth": "2 of 2", "content": "1 of 1"}
    assert not any(key.text in str(shown) for key in ring.keys if key.text is not None)


def test_a_ring_that_cannot_be_used_is_one_sentence_without_a_key(house: House) -> None:
    ring = house.store.read()
    text = dump(ring)
    assert ring.active is not None
    assert ring.active.text is not None
    for bad in (
        "",
        "[]",
        text[:-5],
        text.replace("local", "public", 1),
        text.replace('"state": "active"', '"state": "asleep"'),
        text.replace(ring.active.text, ring.active.text + "="),
        dump(Ring(ring.purpose, (ring.keys[0], ring.keys[0]))),
    ):
        with pytest.raises(FailureError) as caught:
            parse(bad, "the ring")
        assert ring.active.text not in "".join(caught.value.lines())


def test_the_copies_are_written_with_every_step(tmp_path: Path) -> None:
    files.ensure(tmp_path, Purpose.PUBLIC)
    store = FileStore(tmp_path / files.RING, [tmp_path / "one.json", tmp_path / "two.json"])
    ring = store.update(lambda it: it.announce(now()))
    for name in ("one.json", "two.json"):
        assert (tmp_path / name).read_text().strip() == dump(ring.for_verifiers())


def test_an_instance_mints_with_one_key_or_with_none() -> None:
    holder = Holder("auth", "1", {"a": "verify-only", "b": "active"})
    assert holder.mints_with() == ["b"]
    assert Census((holder,), (), 60).not_using("b") == []
    assert Census((holder,), (), 60).not_using("a") == ["auth 1"]
