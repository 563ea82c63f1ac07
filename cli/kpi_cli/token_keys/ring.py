"""The key ring as it stands in its file, and each step of a rotation as a new ring.

The form is the parts' (docs/keys.md); ``since`` and ``rotation`` are for this command alone, so that it can go on with
what another run has begun.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from kpi_cli.errors import FailureError
from kpi_cli.token_keys import paserk
from kpi_cli.token_keys.paserk import KeyTextError, Purpose

# Of keys that are retired only the ids are kept, and only those of the last ones.
KEPT_RETIRED = 20
# Characters of an id that are enough to name a key, after what all ids begin with.
LEAST_BEGINNING = 6


class State(StrEnum):
    """What the parts do with a key."""

    NEXT = "next"
    ACTIVE = "active"
    VERIFY_ONLY = "verify-only"
    RETIRED = "retired"
    KILLED = "killed"


# A key in one of these is refused, and its text is removed.
GONE = frozenset({State.RETIRED, State.KILLED})


@dataclass(frozen=True)
class Key:
    """One key; ``text`` is its PASERK form, None once it is gone."""

    kid: str
    state: State
    since: datetime
    text: str | None = field(repr=False)

    def become(self, state: State, now: datetime) -> "Key":
        return replace(self, state=state, since=now, text=None if state in GONE else self.text)


@dataclass(frozen=True)
class Rotation:
    """A rotation that is under way; ``retire_after`` is known once no part mints with the old key any more."""

    kid: str
    began: datetime
    retire_after: datetime | None = None


@dataclass(frozen=True)
class Ring:
    """All keys, the newest first."""

    purpose: Purpose
    keys: tuple[Key, ...]
    rotation: Rotation | None = None

    def in_state(self, *states: State) -> list[Key]:
        return [key for key in self.keys if key.state in states]

    @property
    def active(self) -> Key | None:
        return next(iter(self.in_state(State.ACTIVE)), None)

    @property
    def next(self) -> Key | None:
        return next(iter(self.in_state(State.NEXT)), None)

    def announce(self, now: datetime) -> "Ring":
        """With a new key that all parts are to know before any of them mints with it."""
        key = make_key(self.purpose, State.NEXT, now)
        return replace(self, keys=(key, *self.keys), rotation=Rotation(key.kid, now))

    def resume(self, now: datetime) -> "Ring":
        """With a rotation to the next key, which something else has announced."""
        assert self.next is not None  # noqa: S101 only then there is something to resume
        return replace(self, rotation=Rotation(self.next.kid, now))

    def activate(self, now: datetime) -> "Ring":
        """The next key mints from now on, and the active one only verifies."""
        turned = {State.NEXT: State.ACTIVE, State.ACTIVE: State.VERIFY_ONLY}
        return self._change(lambda key: turned.get(key.state, key.state), now)

    def confirm(self, now: datetime, wait: timedelta) -> "Ring":
        """No part mints with the old key any more: it can be retired after ``wait``."""
        assert self.rotation is not None  # noqa: S101 only a rotation is confirmed
        return replace(self._note_rest(now), rotation=replace(self.rotation, retire_after=now + wait))

    @property
    def wait(self) -> timedelta:
        """The time from when the old key last minted until it can be retired, as ``confirm`` has set it."""
        assert self.rotation is not None and self.rotation.retire_after is not None  # noqa: S101, PT018 it was confirmed
        return self.rotation.retire_after - self._rested_since

    @property
    def _rested_since(self) -> datetime:
        assert self.rotation is not None  # noqa: S101 only during a rotation
        return max((key.since for key in self.in_state(State.VERIFY_ONLY)), default=self.rotation.began)

    def set_wait(self, wait: timedelta) -> "Ring":
        """With another time until the old key can be retired, from the same moment on."""
        assert self.rotation is not None  # noqa: S101 only a rotation waits
        return replace(self, rotation=replace(self.rotation, retire_after=self._rested_since + wait))

    def seconds_to_retire(self, now: datetime) -> float:
        """Until the old key can be retired; 0 if that is now, or not known yet."""
        after = self.rotation.retire_after if self.rotation is not None else None
        return max(0.0, (after - now).total_seconds()) if after is not None else 0.0

    def _note_rest(self, now: datetime) -> "Ring":
        """The key that was active until this rotation may have minted until now, which ``retire`` has to know."""
        began = self.active.since if self.active is not None else now
        keys = (
            replace(key, since=now) if key.state is State.VERIFY_ONLY and key.since >= began else key
            for key in self.keys
        )
        return replace(self, keys=tuple(keys))

    def is_rotating_to(self, kid: str) -> bool:
        return self.rotation is not None and self.rotation.kid == kid

    def retire(self, now: datetime, *, older_than: timedelta) -> "Ring":
        """Without the keys that have not minted for so long."""
        due = {key.kid for key in self.in_state(State.VERIFY_ONLY) if key.since <= now - older_than}
        turned = self._change(lambda key: State.RETIRED if key.kid in due else key.state, now)
        kept = {key.kid for key in turned.in_state(State.RETIRED)[:KEPT_RETIRED]}
        return replace(
            turned, keys=tuple(key for key in turned.keys if key.state is not State.RETIRED or key.kid in kept)
        )

    def end_rotation(self) -> "Ring":
        return replace(self, rotation=None)

    def kill(self, kid: str, now: datetime) -> "Ring":
        """With that key refused for ever. If it minted, the next key has to be activated first."""
        if kid not in {key.kid for key in self.keys}:
            return replace(self, keys=(*self.keys, Key(kid, State.KILLED, now, None)))
        killed = self._change(lambda key: State.KILLED if key.kid == kid else key.state, now)
        is_over = self.rotation is not None and kid == self.rotation.kid
        return killed.end_rotation() if is_over else killed

    def find_revived(self, killed: Collection[str]) -> list[str]:
        """The keys among those that were killed which the ring lists as others."""
        return [key.kid for key in self.keys if key.kid in killed and key.state is not State.KILLED]

    def find(self, beginning: str) -> str:
        """The id that a text means: a whole id, or the only one of this ring that begins so."""
        _check_beginning(beginning)
        found = [key.kid for key in self.keys if key.kid.startswith(beginning)]
        if len(found) == 1:
            return found[0]
        if not found and paserk.KEY_ID.fullmatch(beginning):
            return beginning
        problem = "no key has this id" if not found else f"{len(found)} keys have ids that begin so"
        raise FailureError("keys", f"{beginning}: {problem}", fix="kpi keys status lists them", code=2)

    def _change(self, state_of: Callable[[Key], State], now: datetime) -> "Ring":
        changed = [(key, state_of(key)) for key in self.keys]
        return replace(
            self, keys=tuple(key if key.state is state else key.become(state, now) for key, state in changed)
        )

    def for_verifiers(self) -> "Ring":
        """What the parts that mint nothing may hold: public halves, and local keys as they are."""
        verifying = (
            replace(key, text=paserk.verifying_form(key.text)) if key.text is not None else key for key in self.keys
        )
        return replace(self, keys=tuple(verifying))


def require_minting(ring: Ring, place: str) -> Ring:
    """FailureError for a ring of public keys, which no new secret key must get into."""
    texts = [key.text or "" for key in ring.in_state(State.ACTIVE, State.NEXT)]
    if any(text.startswith("k4.public.") for text in texts):
        raise FailureError("keys", f"{place} is the ring of a part that only verifies", fix="name auth's own", code=2)
    return ring


def _check_beginning(beginning: str) -> None:
    """What is killed stays so: a word too few must not be enough."""
    if re.fullmatch(rf"k4\.[lp]id\.[A-Za-z0-9_-]{{{LEAST_BEGINNING},}}", beginning) is None:
        problem = f"the id of a key is needed, or {LEAST_BEGINNING} characters of it after k4.lid. or k4.pid."
        raise FailureError("keys", problem, fix="kpi keys status lists them", code=2)


def make_key(purpose: Purpose, state: State, now: datetime) -> Key:
    text = paserk.make(purpose)
    return Key(paserk.key_id(text), state, now, text)


def make_ring(purpose: Purpose, now: datetime) -> Ring:
    """The first ring of an installation."""
    return Ring(purpose, (make_key(purpose, State.ACTIVE, now),))


def adopt(current: str, previous: Iterable[str], now: datetime) -> Ring:
    """The ring of keys in hex digits, as PASETO_SECRET_KEY and PASETO_PREVIOUS_KEYS have them."""
    texts = [paserk.encode("local", bytes.fromhex(key)) for key in dict.fromkeys((current, *previous))]
    states = (State.ACTIVE, *(State.VERIFY_ONLY for _ in texts[1:]))
    keys = (Key(paserk.key_id(text), state, now, text) for text, state in zip(texts, states, strict=True))
    return Ring(Purpose.LOCAL, tuple(keys))


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def dump(ring: Ring) -> str:
    """The ring as the parts read it."""
    document: dict[str, Any] = {"purpose": ring.purpose.value, "keys": [_dump_key(key) for key in ring.keys]}
    if ring.rotation is not None:
        after = ring.rotation.retire_after
        times = {"began": dump_time(ring.rotation.began), "retire_after": dump_time(after) if after else None}
        document["rotation"] = {"kid": ring.rotation.kid, **times}
    return json.dumps(document, indent=2)


def parse(text: str, place: str) -> Ring:
    """The ring in a text; raises FailureError that names the place and quotes no key."""
    try:
        document = json.loads(text)
        keys = tuple(_parse_key(each) for each in document["keys"])
        ring = Ring(Purpose(document["purpose"]), keys, _parse_rotation(document.get("rotation")))
        _check(ring)
    except KeyTextError as error:
        raise _unusable(place, str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        # The parser's own messages may quote what may be a key.
        form = 'a JSON object with "purpose" and "keys" is needed, each of these with "key" and "state"'
        raise _unusable(place, form) from None
    return ring


def _check(ring: Ring) -> None:
    kids = [key.kid for key in ring.keys]
    if len(set(kids)) < len(kids):
        raise KeyTextError("a key is listed twice")
    if any(key.text is not None and paserk.purpose_of(key.text) is not ring.purpose for key in ring.keys):
        raise KeyTextError(f"a key is not of the ring's purpose, {ring.purpose}")
    if any(key.text is None and key.state not in GONE for key in ring.keys):
        raise KeyTextError("only a retired or killed key may be listed by its kid alone")
    for state in (State.ACTIVE, State.NEXT):
        if len(ring.in_state(state)) > 1:
            raise KeyTextError(f"more than one key is {state}")


def _parse_key(item: dict[str, Any]) -> Key:
    text = item.get("key")
    kid = paserk.key_id(text) if text is not None else _parse_kid(item["kid"])
    state = State(item["state"])
    return Key(kid, state, _parse_time(item.get("since")) or now(), None if state in GONE else text)


def _parse_kid(value: object) -> str:
    if not isinstance(value, str) or paserk.KEY_ID.fullmatch(value) is None:
        raise KeyTextError("a kid does not have the form of the id of a key")
    return value


def _parse_rotation(item: dict[str, Any] | None) -> Rotation | None:
    if item is None:
        return None
    return Rotation(_parse_kid(item["kid"]), _parse_time(item["began"]) or now(), _parse_time(item.get("retire_after")))


def _dump_key(key: Key) -> dict[str, str]:
    text = {"key": key.text} if key.text is not None else {}
    return {"kid": key.kid, "state": key.state.value, "since": dump_time(key.since), **text}


def dump_time(time: datetime) -> str:
    """RFC 3339 in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _parse_time(text: str | None) -> datetime | None:
    """None for a time that is missing; one without a zone is in UTC."""
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _unusable(place: str, problem: str) -> FailureError:
    fix = "restore it, or make a new ring as docs/keys.md says"
    return FailureError("keys", f"{place}: {problem}", fix=fix)
