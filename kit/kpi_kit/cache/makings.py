"""What is being made in this process, and which of it waits for which."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from kpi_kit.cache.errors import RememberCycleError


@dataclass(eq=False)
class Making:
    """A value that is being made. ``name`` has the prefix; ``waits_for`` are others whose end it needs."""

    owner: "Makings"
    name: str
    tags: Collection[str]
    is_outdated: bool = False
    has_ended: bool = False
    waits_for: list[tuple["Makings", str]] = field(default_factory=list)


# What the code that runs is a part of, in each task that it starts, too.
_current: ContextVar[Making | None] = ContextVar("kpi_cache_making", default=None)


class Makings:
    """Those of one cache."""

    def __init__(self) -> None:
        self._makings: set[Making] = set()

    @contextmanager
    def begin(self, name: str, tags: Collection[str]) -> Iterator[Making]:
        making = Making(self, name, tags)
        self._makings.add(making)
        token = _current.set(making)
        try:
            yield making
        finally:
            _current.reset(token)
            making.has_ended = True
            self._makings.discard(making)

    def outdate(self, matches: Callable[[str, Collection[str]], bool]) -> None:
        for making in self._makings:
            making.is_outdated = making.is_outdated or matches(making.name, making.tags)

    @contextmanager
    def note_wait(self, name: str) -> Iterator[None]:
        """Note, for the time of the block, that the running code waits for this name (see ``check_for_cycle``)."""
        making = _find_current()
        if making is None:
            yield
            return
        making.waits_for.append((self, name))
        try:
            yield
        finally:
            making.waits_for.remove((self, name))

    def check_for_cycle(self, name: str) -> None:
        """RememberCycleError if a wait for this name would not end."""
        making = _find_current()
        if making is not None and _leads_to(making, self, name, set()):
            raise RememberCycleError


def leave_making() -> None:
    """Detach this task from the value whose code started it: no value waits for what it makes."""
    _current.set(None)


def _find_current() -> Making | None:
    making = _current.get()
    # A task that was started by what made a value may live for longer.
    return None if making is None or making.has_ended else making


def _leads_to(goal: Making, owner: Makings, name: str, seen: set[tuple[Makings, str]]) -> bool:
    """Whether the making of this name waits for the goal."""
    if (owner, name) == (goal.owner, goal.name):
        return True
    if (owner, name) in seen:
        return False
    seen.add((owner, name))
    return any(
        _leads_to(goal, *next_one, seen)
        for making in owner._makings  # noqa: SLF001 of the same class
        if making.name == name
        for next_one in making.waits_for
    )
