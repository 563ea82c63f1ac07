"""Which processes hold which keys, as auth has it from their reports."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from kpi_cli.token_keys.ring import State


class Ask(Protocol):
    """Runs a command of auth."""

    def __call__(self, command: str, request: Mapping[str, object], *, seconds: float | None = None) -> dict[str, Any]:
        """The response; FailureError if there is none, or none within that time."""


@dataclass(frozen=True)
class Holder:
    """One process of a part, and the state of each key in its ring."""

    part: str
    instance: str
    keys: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.part} {self.instance}"

    def mints_with(self) -> list[str]:
        return [kid for kid, state in self.keys.items() if state == State.ACTIVE]


@dataclass(frozen=True)
class Census:
    """All processes that have reported lately, the parts that must be among them, and how long a token lives.

    ``killed`` are the ids of all keys that were ever killed: no process uses them, whatever the ring says.
    """

    holders: tuple[Holder, ...]
    expected: tuple[str, ...]
    token_seconds: int
    killed: frozenset[str] = frozenset()

    @property
    def silent_parts(self) -> list[str]:
        """The parts of which no process reports."""
        return [part for part in self.expected if part not in {holder.part for holder in self.holders}]

    def lacking(self, kid: str) -> list[str]:
        """What does not hold a key that is to be activated."""
        return [*_describe(self.silent_parts), *(each.name for each in self.holders if kid not in each.keys)]

    def not_using(self, kid: str) -> list[str]:
        """What could still mint with another key."""
        return [each.name for each in self.holders if each.mints_with() not in ([kid], [])]

    def holding(self, kid: str) -> dict[str, str]:
        """How many processes of each part hold a key: ``2 of 2``."""
        parts = sorted({holder.part for holder in self.holders})
        return {part: _count([kid in each.keys for each in self.holders if each.part == part]) for part in parts}


def take_census(
    ask: Ask, expected: Sequence[str], *, ignored: Sequence[str] = (), seconds: float | None = None
) -> Census:
    """Without the instances whose names match one of the patterns ``ignored``."""
    found = ask("keys", {"action": "holders"}, seconds=seconds)
    holders = (Holder(each["part"], each["instance"], each["keys"]) for each in found["holders"])
    counted = tuple(each for each in holders if not any(fnmatchcase(each.instance, name) for name in ignored))
    return Census(counted, tuple(expected), int(found["token_seconds"]), frozenset(found["killed"]))


def _count(held: Sequence[bool]) -> str:
    return f"{sum(held)} of {len(held)}"


def _describe(parts: Collection[str]) -> list[str]:
    return [f"{part} (no process of it reports)" for part in parts]
