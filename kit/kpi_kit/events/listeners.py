"""Who listens to which events."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from kpi_kit.events.event import Event, compile_pattern

Listen = Callable[[Any], Awaitable[object]]
F = TypeVar("F", bound=Callable[..., Awaitable[object]])
_PATTERNS = "_kpi_listens_to"


@dataclass(frozen=True)
class Listener:
    """``label`` names it in logs."""

    pattern: re.Pattern[str]
    function: Listen
    label: str


@dataclass(frozen=True)
class Failure:
    """A listener that failed. ``error`` is the name of the type of what it raised, since texts may have content."""

    listener: str
    event: str
    error: str


def listens(*patterns: str | type[Event]) -> Callable[[F], F]:
    """Marks a method of a subscriber as a listener to these events."""

    def mark(method: F) -> F:
        setattr(method, _PATTERNS, patterns)
        return method

    return mark


def build_listener(pattern: str | type[Event], function: Listen) -> Listener:
    text = pattern if isinstance(pattern, str) else pattern.event_name
    label = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    return Listener(compile_pattern(text), function, label)


def find_listeners(subscriber: object) -> Iterator[Listener]:
    """In the order in which the class defines them."""
    for name in _names(type(subscriber)):
        for pattern in getattr(inspect.getattr_static(subscriber, name), _PATTERNS, ()):
            yield build_listener(pattern, getattr(subscriber, name))


def is_stopped_by(error: BaseException) -> bool:
    """Whether the error is the cancellation of this task itself, and not of another one that a listener awaited."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _names(kind: type) -> dict[str, None]:
    return {name: None for each in reversed(kind.__mro__) for name in vars(each)}
