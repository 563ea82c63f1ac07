"""What a command of ``kpi make`` does to a checkout, before anything is done."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NewFile:
    """A file that must not exist, or be equal. ``path`` is relative to the checkout, with slashes."""

    path: str
    text: str
    is_executable: bool = False


@dataclass(frozen=True)
class Edit:
    """A change of a file that exists. ``change`` gets and returns its text; done twice, it changes nothing."""

    path: str
    change: Callable[[str], str]


Change = NewFile | Edit
# Runs in a copy of the checkout in which the changes are made, and may change files there.
Step = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``title`` says what is made: ``resource Product in content``; ``notes`` what the developer does next.

    ``noun``: the folder of the noun that it makes, whose name another may have taken.
    """

    title: str
    changes: tuple[Change, ...]
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    noun: str = ""
