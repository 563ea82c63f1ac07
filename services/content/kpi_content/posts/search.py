"""What a person types into a search field, taken apart for PostgreSQL.

Whatever is typed has a meaning: no text is refused, and none reaches the query's syntax, because the separators
that are taken out hold every character that has a meaning there.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from kpi_content.posts.models import SEPARATORS

# An optional minus sign and a quoted phrase, or a run of anything but blanks.
_TERM = re.compile(r'(?<!\S)(?P<minus>-?)"(?P<phrase>[^"]*)"|(?P<word>\S+)')
# To find a phrase PostgreSQL compares the places of all of its words, in every post that holds them.
MAX_PHRASE = 8
_SEPARATORS = re.compile(SEPARATORS)


class SearchTerms(NamedTuple):
    """The parts of a search. An empty part asks for nothing; with all of them empty nothing is found.

    ``words`` is plain text of which every word is wanted in any form. The others are in the syntax of
    to_tsquery: ``phrases`` are wanted as written, ``excluded`` are not wanted, and of the last plain word either
    a form (``last_word``, plain text) or a word that begins with it (``last_prefix``) is wanted.
    """

    words: str
    phrases: str
    last_word: str
    last_prefix: str
    excluded: str


class _Word(NamedTuple):
    text: str
    # A punctuation mark ends a word, as in "C++": what comes before it is no beginning of a longer one.
    is_open: bool

    @property
    def is_phrase(self) -> bool:
        """Two words that stand together, as in "Node.js"."""
        return " " in self.text


def parse_search(text: str) -> SearchTerms:
    words: list[_Word] = []
    phrases: list[str] = []
    excluded: list[str] = []
    for term in _TERM.finditer(text):
        word = term["word"] or ""
        found, *others = _phrases(term["phrase"] or word)
        if not found:
            continue
        if term["minus"] or word.startswith("-"):
            excluded.append(found)
        elif term["phrase"]:
            phrases.append(found)
        else:
            words.append(_Word(found, is_open=not _SEPARATORS.match(word[-1])))
        if not (term["minus"] or word.startswith("-")):
            words.extend(_Word(other, is_open=False) for other in others)
    last = words.pop() if words else _Word("", is_open=False)
    return SearchTerms(
        words=" ".join(word.text for word in words if not word.is_phrase),
        phrases=_joined(" & ", (*phrases, *(word.text for word in words if word.is_phrase))),
        last_word="" if last.is_phrase else last.text,
        last_prefix=_joined("", [last.text] if last.text else []) + (":*" if last.is_open else ""),
        excluded=_joined(" | ", excluded),
    )


def _phrases(text: str) -> list[str]:
    """The words of a term, as a phrase; those beyond MAX_PHRASE one by one, since a long phrase is slow to find."""
    words = _SEPARATORS.sub(" ", text).split()
    return [" ".join(words[:MAX_PHRASE]), *words[MAX_PHRASE:]]


def _joined(operator: str, phrases: Iterable[str]) -> str:
    return operator.join(f"'{phrase}'" for phrase in phrases)
