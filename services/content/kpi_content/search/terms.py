"""Parses the text of a search field for PostgreSQL.

Every text of few enough words has a meaning, and none can change the syntax of the query, because the separators that
are removed include every character that is special there. It is folded as the index is: see ``words``.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from kpi_content.search.words import fold, is_separator, split_words

# A quoted phrase with an optional minus sign, or a run of characters other than white space.
_TERM = re.compile(r'(?<!\S)(?P<minus>-?)"(?P<phrase>[^"]*)"|(?P<word>\S+)')
# To find a phrase, PostgreSQL compares the positions of all its words in every post that contains them.
MAX_PHRASE = 8
# The quotation marks that phones and word processors put in the place of the straight one.
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»", '"'))


# A search has 200 characters, so a text of usual words stays below the first.
MAX_WORDS = 32
MAX_EXCLUSIONS = 8


class TermCount(NamedTuple):
    words: int
    exclusions: int


class SearchTerms(NamedTuple):
    """The parts of a search. An empty part is no condition; if all parts are empty, nothing is found.

    ``words`` is plain text: a post must contain every word of it, in any form. ``last_word`` is plain text, too: a
    post must contain a form of it or a word with the prefix ``last_prefix``. The others are in the syntax of
    to_tsquery: a post must contain all ``phrases`` as written, and nothing of ``excluded``.
    """

    words: str
    phrases: str
    last_word: str
    last_prefix: str
    excluded: str


class _Word(NamedTuple):
    text: str
    # A punctuation mark ends a word, as in "C++": the word is then not a prefix of a longer one.
    is_open: bool

    @property
    def is_phrase(self) -> bool:
        """Words that are written together, as in "Node.js"."""
        return " " in self.text


def count_terms(text: str) -> TermCount:
    """The words of a search, and the terms that are excluded."""
    folded = fold(text.translate(_QUOTES))
    exclusions = sum(term.group().startswith("-") for term in _TERM.finditer(folded))
    return TermCount(len(split_words(folded)), exclusions)


def parse_search(text: str) -> SearchTerms:
    words: list[_Word] = []
    phrases: list[str] = []
    excluded: list[str] = []
    for term in _TERM.finditer(fold(text.translate(_QUOTES))):
        word = term["word"] or ""
        found, *others = _split_phrases(term["phrase"] or word)
        if not found:
            continue
        if term["minus"] or word.startswith("-"):
            excluded.append(found)
        elif term["phrase"]:
            phrases.append(found)
        else:
            words.append(_Word(found, is_open=not is_separator(word[-1])))
        if not (term["minus"] or word.startswith("-")):
            words.extend(_Word(other, is_open=False) for other in others)
    last = words.pop() if words else _Word("", is_open=False)
    return SearchTerms(
        words=" ".join(word.text for word in words if not word.is_phrase),
        phrases=_join(" & ", (*phrases, *(word.text for word in words if word.is_phrase))),
        last_word="" if last.is_phrase else last.text,
        last_prefix=_join("", [last.text] if last.text else []) + (":*" if last.is_open else ""),
        excluded=_join(" | ", excluded),
    )


def _split_phrases(text: str) -> list[str]:
    """The words of a term as a phrase; those beyond MAX_PHRASE one by one, because a long phrase is slow to find."""
    words = split_words(text)
    return [" ".join(words[:MAX_PHRASE]), *words[MAX_PHRASE:]]


def _join(operator: str, phrases: Iterable[str]) -> str:
    return operator.join(f"'{phrase}'" for phrase in phrases)
