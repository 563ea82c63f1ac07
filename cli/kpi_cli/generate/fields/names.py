"""The names of a resource in every form, from one that is written in any of the usual ways."""

import re

from kpi_cli.errors import FailureError
from kpi_cli.generate.fields.words import why_no_resource
from kpi_cli.generate.specs import Names

# Where a word begins: OrderItem, and HTTPServer as http, server.
_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\- ]+")
_WORD = re.compile(r"[a-z][a-z0-9]*")
# The names of constraints have the table's name, a field's name and more.
_MAX_NAME = 30


def parse_names(text: str, *, plural: str | None = None) -> Names:
    """``OrderItem``, ``order_item`` or ``order-items``; ``plural`` is for a noun whose plural inflect does not know."""
    words = split_words(text)
    if plural is None:
        words, plural_words = inflect_words(words)
    else:
        plural_words = split_words(plural)
    names = Names(words=words, plural_words=plural_words)
    _check(names, text)
    return names


def split_words(text: str) -> tuple[str, ...]:
    """The words of a name, in lower case."""
    words = tuple(word.lower() for word in _BOUNDARY.split(text.strip()))
    if not words or not all(map(_WORD.fullmatch, words)):
        sentence = f"{text!r} is no name: it consists of words of ASCII letters and digits, as OrderItem or order_item"
        raise FailureError("make", sentence, code=2)
    return words


def _check(names: Names, text: str) -> None:
    if max(len(names.singular), len(names.plural)) > _MAX_NAME:
        raise FailureError("make", f"{text!r} is too long: a name has at most {_MAX_NAME} characters", code=2)
    if names.singular == names.plural:
        sentence = f"the plural of {names.title} is the same word, and both are needed"
        raise FailureError("make", sentence, fix=f"give another plural: --plural {names.singular}_list", code=2)
    if reason := why_no_resource(names.singular, names.plural):
        raise FailureError("make", f"a resource cannot be named {text!r}: {reason}", fix="choose another name", code=2)


def inflect_words(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The singular and the plural, from either of them."""
    import inflect  # noqa: PLC0415 - it takes 0.2 s, which only these commands need

    engine = inflect.engine()
    *before, last = words
    singular = engine.singular_noun(last)
    plural = engine.plural_noun(last)
    # Of a plural, inflect makes another: productss. Of bus, which it takes for the plural of bu, it makes buses.
    if singular and plural == f"{last}s":
        return (*before, str(singular)), words
    return words, (*before, plural)
