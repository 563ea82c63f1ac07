"""The spellings of Fastpy's command (and of artisan's), as the words that this command has for them."""

import re
import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import NamedTuple

# The types of fields are those of kpi_cli.generate.specs.Kind, which no other command has to load; a test compares.
_KINDS = (
    "string|text|integer|bigint|float|decimal|money|percent|boolean|datetime|date|time|email|url|uuid|json|phone|slug"
    "|ip|color|file|image|enum|owner"
)
# Between two fields in one argument. What follows must begin as a field does, since a default may have blanks.
_BETWEEN_FIELDS = re.compile(rf"[;\s]+(?=[A-Za-z_]\w*:(?:{_KINDS})\b)")

_WORDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("route", "list"): ("routes",),
    ("make", "controller"): ("make", "endpoint"),
    ("make", "route"): ("make", "endpoint"),
    ("make", "exception"): ("make", "error"),
    ("make", "admin"): ("user", "create", "--role", "admin"),
    ("db", "make"): ("db", "revision"),
    ("service", "logs"): ("logs",),
    ("service", "status"): ("status",),
}
_WORDS_WITH_COLON = {("make", "service"): ("make", "service-layer")}
_NOTES = {
    ("make", "service"): (
        "make:service is understood as in Fastpy, as the rules of one noun: make service-layer."
        " A whole service: kpi make service NAME"
    ),
}
# What Fastpy's command asked for and this one always does: a model has a migration, a path parameter is looked up.
_ALWAYS_DONE = {
    "make resource": {"-m": "--migration", "-b": "--binding"},
    "make model": {"-m": "--migration"},
    "make endpoint": {"-b": "--binding"},
}
_TAKE_FIELDS = {
    f"make {name}" for name in ("resource", "model", "repository", "service-layer", "factory", "seeder", "event")
}
_LOOKS_LIKE_A_FIELD = re.compile(r"[A-Za-z_]\w*:[A-Za-z]")
# Flags that Fastpy's users write in one word with those, as in -mp.
_FLAGS = frozenset("mbp")


class Understood(NamedTuple):
    """The arguments for this command, and sentences about those that mean something else than they seem to."""

    arguments: list[str]
    notes: tuple[str, ...] = ()


def understand(arguments: Sequence[str]) -> Understood:
    """The arguments with Fastpy's spellings replaced; what is no such spelling stays as it is."""
    if not arguments or arguments[0].startswith("-"):
        return Understood(list(arguments))
    words, has_colon = arguments[0].split(":"), ":" in arguments[0]
    command, rest = (tuple(words), arguments[1:]) if has_colon else (tuple(arguments[:2]), arguments[2:])
    # What follows ``ai`` are words for a model, so ai:config must not become some.
    if not all(command) or (has_colon and command[0] == "ai"):
        return Understood(list(arguments))
    spellings = _WORDS | _WORDS_WITH_COLON if has_colon else _WORDS
    meant = spellings.get(command, command)
    notes: tuple[str, ...] = (_NOTES[command],) if has_colon and command in _NOTES else ()
    understood = _understand_options(" ".join(meant[:2]), rest)
    if " ".join(meant[:2]) in _TAKE_FIELDS:
        notes += tuple(_note_fields(understood))
    return Understood([*meant, *understood], notes)


def suggest(group: str, word: str) -> str:
    """The end of a sentence about an unknown command of a group that is close to a spelling of Fastpy's."""
    names = {name: meant for (first, name), meant in (_WORDS | _WORDS_WITH_COLON).items() if first == group}
    close = get_close_matches(word, names, n=1)
    return f" Did you mean {group}:{close[0]}, which is {' '.join(names[close[0]])} here?" if close else ""


def _note_fields(arguments: Sequence[str]) -> Iterator[str]:
    """A sentence about the first field that stands where no option takes it."""
    for before, argument in pairwise(["", *arguments]):
        if _LOOKS_LIKE_A_FIELD.match(argument) and not before.startswith("-"):
            yield f"fields are options: -f {shlex.quote(argument)}"
            return


def _understand_options(command: str, arguments: Sequence[str]) -> list[str]:
    if not command.startswith("make "):
        return list(arguments)
    kept = _drop_always_done(command, arguments)
    if command == "make error":
        kept = _name_status(kept)
    return _split_fields(kept)


def _drop_always_done(command: str, arguments: Sequence[str]) -> list[str]:
    done = _ALWAYS_DONE.get(command, {})
    kept = []
    for argument in arguments:
        letters = argument[1:]
        if argument in done.values():
            continue
        if re.fullmatch(r"-[a-z]+", argument) and set(letters) <= _FLAGS:
            argument = "-" + "".join(letter for letter in letters if f"-{letter}" not in done)  # noqa: PLW2901 as meant
            if argument == "-":
                continue
        kept.append(argument)
    return kept


def _name_status(arguments: Sequence[str]) -> list[str]:
    """``-s 402`` is the status of Fastpy's make:exception, and the service of this command."""
    named = list(arguments)
    for number, (option, value) in enumerate(pairwise(named)):
        if option == "-s" and value.isdecimal():
            named[number] = "--status"
    return named


def _split_fields(arguments: Sequence[str]) -> list[str]:
    """``-f "title:string:required; body:text"`` as an option for each field."""
    split: list[str] = []
    is_field = False
    for argument in arguments:
        if is_field:
            split += _options_of(argument)
        elif argument.startswith(("--field=", "--fields=")):
            split += _options_of(argument.partition("=")[2])
        elif re.match(r"-f.", argument):
            split += _options_of(argument[2:])
        elif argument not in {"-f", "--field", "--fields"}:
            split.append(argument)
        is_field = not is_field and argument in {"-f", "--field", "--fields"}
    return [*split, "-f"] if is_field else split


def _options_of(value: str) -> list[str]:
    fields = _BETWEEN_FIELDS.split(value.strip().strip(";"))
    return [word for field in fields for word in ("-f", field.strip())]
