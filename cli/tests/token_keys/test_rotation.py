"""A rotation step by step: what has to be true before each step, and what a run does that comes after another."""

import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.token_keys import files
from kpi_cli.token_keys.holders import Census, Holder, take_census
from kpi_cli.token_keys.overview import describe, next_step, to_lines
from kpi_cli.token_keys.paserk import Purpose
from kpi_cli.token_keys.ring import KEPT_RETIRED, Ring, State, dump, now, parse
from kpi_cli.token_keys.rotation import LEEWAY_SECONDS, Plan, Rotator
from kpi_cli.token_keys.store import FileStore
from ring_house import PARTS, TOKEN_SECONDS, House


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


def test_a_run_that_continues_has_its_own_wait_and_says_how_long_it_takes(house: House) -> None:
    house.stop_after = 6
    with pytest.raises(KeyboardInterrupt):
        house.rotate(wait=3600)
    assert house.said[-1] == "every part mints with it; the old key is retired in 3600 s"
    house.stop_after, before = None, house.slept
    house.rotate(wait=60)
    assert house.states == [State.ACTIVE, State.RETIRED]
    assert 50 < house.slept - before <= 60
    assert any("the old key is retired in " in line for line in house.said[-2:])


def test_a_run_that_continues_without_waiting_leaves_the_old_key_to_a_later_one(house: House) -> None:
    house.stop_after = 6
    with pytest.raises(KeyboardInterrupt):
        house.rotate(wait=3600)
    house.stop_after = 0
    ring = house.rotate(retire=False)
    assert (house.states, ring.rotation) == ([State.ACTIVE, State.VERIFY_ONLY], None)
    assert next_step(ring, None).endswith(f"begins a rotation, and retires {ring.keys[1].kid}")


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


def test_a_key_is_not_retired_before_tokens_of_the_last_moment_in_which_it_minted(house: House) -> None:
    ring = house.store.update(lambda it: it.announce(now()))
    house.store.update(lambda it: it.activate(now() - timedelta(hours=1)))
    # The last process has taken the new key only now, an hour after it was activated.
    house.read_again()
    house.rotate(retire=False)
    house.rotate(retire=False)
    assert house.states == [State.ACTIVE, State.VERIFY_ONLY, State.VERIFY_ONLY]
    assert ring.active is not None
    (old,) = (key for key in house.store.read().keys if key.kid == ring.active.kid)
    assert now() - old.since < timedelta(minutes=5)


@pytest.mark.parametrize("pauses", range(3))
def test_a_rotation_that_another_command_ends_has_failed(house: House, pauses: int) -> None:
    sleep, left = house.sleep, [pauses]

    def kill_meanwhile(seconds: float) -> None:
        sleep(seconds)
        left[0] -= 1
        if left[0] == -1:
            house.store.update(end)

    def end(ring: Ring) -> Ring:
        assert ring.rotation is not None
        killed = ring.kill(ring.rotation.kid, now())
        return killed if killed.active else killed.announce(now()).activate(now()).end_rotation()

    rotator = Rotator(house.store, house.ask, Plan(PARTS, wait=9), house.said.append, kill_meanwhile)
    with pytest.raises(FailureError, match="another command has ended the rotation to"):
        rotator.run()
    assert not any(line.startswith("retired") for line in house.said)


@pytest.mark.parametrize("step", [State.NEXT, State.ACTIVE])
def test_no_step_is_taken_for_a_rotation_that_has_ended_meanwhile(house: House, step: State) -> None:
    """Between a look at the processes and the change: the store is asked under its lock."""
    began: list[str] = []

    def ask(command: str, request: Mapping[str, object], *, seconds: float | None = None) -> dict[str, Any]:
        found = house.ask(command, request, seconds=seconds)
        ring = house.store.read()
        kid = ring.rotation.kid if ring.rotation is not None else ""
        if not began and all(keys.get(kid) == step for keys in house.known.values()):
            began.append(kid)
            house.store.update(lambda it: replace_rotation(it, kid))
        return found

    rotator = Rotator(house.store, ask, Plan(PARTS, wait=9), house.said.append, house.sleep)
    with pytest.raises(FailureError, match="another command has ended the rotation to"):
        rotator.run()
    ring = house.store.read()
    # The other rotation is where it was.
    assert ring.rotation is not None
    assert (ring.rotation.kid, ring.rotation.retire_after) != (began[0], None)
    assert ring.rotation.retire_after is None
    assert [key.state for key in ring.keys if key.kid == ring.rotation.kid] == [State.NEXT]


def replace_rotation(ring: Ring, kid: str) -> Ring:
    """As two other commands do it: the rotation's key is killed, and another rotation begins."""
    killed = ring.kill(kid, now())
    active = killed if killed.active else killed.announce(now()).activate(now()).end_rotation()
    return active.announce(now())


def test_what_is_waited_for_is_said_every_minute(house: House) -> None:
    house.rotate(wait=200)
    assert sum(line.startswith("the old key is retired in") for line in house.said) >= 3


def test_changes_at_once_wait_for_each_other(house: House) -> None:
    """Each change is made to the ring that the one before left."""
    inside, other = threading.Event(), []

    def slow(ring: Ring) -> Ring:
        inside.set()
        # Time for the other one to read the same ring, if nothing keeps it from that.
        time.sleep(0.3)
        return ring.announce(now())

    thread = threading.Thread(target=lambda: other.append(house.store.update(slow)))
    thread.start()
    assert inside.wait(10)
    house.store.update(lambda it: it.kill("k4.lid." + "A" * 44, now()))
    thread.join()
    assert house.states == [State.NEXT, State.ACTIVE, State.KILLED]


def test_no_secret_key_gets_into_the_ring_of_a_part_that_verifies(tmp_path: Path) -> None:
    files.ensure(tmp_path, Purpose.PUBLIC)
    before = (tmp_path / files.VERIFIERS).read_text()
    with pytest.raises(FailureError, match="is the ring of a part that only verifies"):
        FileStore(tmp_path / files.VERIFIERS).update(lambda it: it.announce(now()))
    assert (tmp_path / files.VERIFIERS).read_text() == before


@pytest.mark.parametrize("content", ["a \u2014 dash".encode(), b"\xff\x00", None])
def test_what_is_no_key_ring_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(FailureError, match=str(path)):
        FileStore(path).read()


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


def test_a_process_that_is_ignored_is_not_waited_for(house: House) -> None:
    house.slow = {"content-1"}
    house.known |= {f"content-forged-{number}": {} for number in range(3)}
    house.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        house.rotate(ignored=("content-forged-*",))
    assert house.said[-1] == "waiting for content content-1 to have the key"
    house.slow, house.stop_after = set(), None
    house.rotate(ignored=("content-forged-*",), wait=0)
    assert house.states == [State.ACTIVE, State.RETIRED]


def test_an_old_file_with_a_killed_key_is_named_and_mended(house: House) -> None:
    before = house.store.read()
    assert before.active is not None
    house.killed = [before.active.kid]
    # No process uses the key, whatever the file says.
    house.instances, house.known = (), {name: {} for name in house.known}
    census = take_census(house.ask, PARTS)
    said = next_step(before, census)
    assert said.startswith(f"{before.active.kid} has been killed, and no part uses it")
    shown = describe(before, census)
    assert [(key["state"], key["is_killed"]) for key in shown["keys"]] == [("active", True)]
    assert "active, but killed" in to_lines(shown)[2]
    house.instances = tuple(house.known)
    ring = house.rotate(wait=0)
    assert house.states == [State.ACTIVE, State.KILLED]
    assert ring.keys[1].kid == before.active.kid
    assert next_step(ring, take_census(house.ask, PARTS)).startswith("nothing is under way")


def test_the_id_of_a_key_is_never_a_key(house: House) -> None:
    ring = house.store.read()
    assert ring.active is not None
    assert ring.active.text is not None
    text = dump(house.store.update(lambda it: it.kill("k4.lid." + "A" * 44, now())))
    for bad in (ring.active.text, "k4.lid.AAA", "k4.lid." + "A" * 45, ""):
        with pytest.raises(FailureError, match="a kid does not have the form") as caught:
            parse(text.replace("k4.lid." + "A" * 44, bad), "the ring")
        assert ring.active.text not in "".join(caught.value.lines())
