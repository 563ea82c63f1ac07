"""Where a rotation is: the keys, who holds them, and what is to be done next."""

from collections.abc import Mapping
from typing import Any

from kpi_cli.token_keys.holders import Census
from kpi_cli.token_keys.ring import Key, Ring, State, dump_time, now


def describe(ring: Ring, census: Census | None) -> dict[str, Any]:
    """All that is known, without a key's text; ``census`` is None if nothing runs that could be asked."""
    return {
        "purpose": ring.purpose.value,
        "keys": [_describe_key(key, census) for key in ring.keys],
        "rotation": ring.rotation.kid if ring.rotation is not None else None,
        "instances": [_describe_holder(each.part, each.instance, each.keys) for each in census.holders]
        if census
        else [],
        "next": next_step(ring, census),
    }


def next_step(ring: Ring, census: Census | None) -> str:
    """What happens next, in one sentence."""
    if census and (revived := ring.find_revived(census.killed)):
        return (
            f"{', '.join(revived)} has been killed, and no part uses it whatever the key ring says (it may be an old "
            "copy): kpi keys rotate says so in the ring, and makes a new key if it was active"
        )
    if ring.active is None:
        return "no key is active, so no sign-in is possible: kpi keys rotate"
    if ring.rotation is None:
        left = ", ".join(key.kid for key in ring.in_state(State.VERIFY_ONLY))
        more = f", and retires {left}" if left else ""
        return f"nothing is under way: kpi keys rotate begins a rotation{more}"
    return f"{_describe_phase(ring, census)}: kpi keys rotate continues"


def _describe_phase(ring: Ring, census: Census | None) -> str:
    assert ring.rotation is not None  # noqa: S101 asked for during a rotation only
    kid, after = ring.rotation.kid, ring.rotation.retire_after
    if ring.next is not None:
        missing = census.lacking(kid) if census else []
        return f"waiting for {', '.join(missing)} to have the key" if missing else "the next key can be activated"
    if after is None:
        missing = census.not_using(kid) if census else []
        return f"waiting for {', '.join(missing)} to mint with the key" if missing else "the new key is active"
    left = int((after - now()).total_seconds())
    return f"the old key is retired in {left} s" if left > 0 else "the old key can be retired"


def _describe_key(key: Key, census: Census | None) -> dict[str, Any]:
    held = census.holding(key.kid) if census and key.state not in {State.RETIRED, State.KILLED} else {}
    is_killed = key.state is State.KILLED or (census is not None and key.kid in census.killed)
    since = dump_time(key.since)
    return {"kid": key.kid, "state": key.state.value, "is_killed": is_killed, "since": since, "held_by": held}


def _describe_holder(part: str, instance: str, keys: object) -> dict[str, Any]:
    return {"part": part, "instance": instance, "keys": keys}


def to_lines(found: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    rows = [("kid", "state", "since", "held by")]
    rows += [(key["kid"], _name_state(key), key["since"], _join(key["held_by"])) for key in found["keys"]]
    widths = [*(max(len(row[at]) for row in rows) for at in range(3)), 0]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [f"purpose: {found['purpose']}", *(line.rstrip() for line in table), f"next: {found['next']}"]


def _name_state(key: Mapping[str, Any]) -> str:
    state = str(key["state"])
    return f"{state}, but killed" if key["is_killed"] and state != State.KILLED else state


def _join(held: Mapping[str, str]) -> str:
    return ", ".join(f"{part} {count}" for part, count in held.items()) or "-"
