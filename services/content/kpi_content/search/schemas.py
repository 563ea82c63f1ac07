"""The text of a search, and texts that can be searched."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from kpi_content.search.terms import MAX_EXCLUSIONS, MAX_WORDS, count_terms

MAX_SEARCH = 200
# The Stream-Safe Text Format (Unicode Standard Annex 15, section 13). Real text has up to ten.
MAX_MARKS = 30


class MarkRun:
    """Finds a long run of combining marks, which PostgreSQL takes quadratic time to normalise, 10 s for 40,000.

    A text may come in parts: a run goes on from one to the next.
    """

    def __init__(self) -> None:
        self._marks = 0

    def is_too_long(self, text: str) -> bool:
        """Whether there is one, up to the end of this part."""
        if text and text.isascii():
            self._marks = 0
            return False
        for character in text:
            self._marks = self._marks + 1 if unicodedata.combining(character) else 0
            if self._marks > MAX_MARKS:
                return True
        return False


def _check_marks(text: str) -> str:
    if MarkRun().is_too_long(text):
        raise PydanticCustomError(
            "too_many_marks", "Text must not contain more than {most} combining marks in a row", {"most": MAX_MARKS}
        )
    return text


StreamSafe = AfterValidator(_check_marks)


def _check_terms(text: str) -> str:
    """Refuse a search of many words: PostgreSQL compares each of them, exclusions with every post."""
    found = count_terms(text)
    if found.words > MAX_WORDS or found.exclusions > MAX_EXCLUSIONS:
        raise PydanticCustomError(
            "too_many_terms",
            "A search must not contain more than {words} words and {exclusions} exclusions",
            {"words": MAX_WORDS, "exclusions": MAX_EXCLUSIONS},
        )
    return text


# Bytes in a URL that are not UTF-8 become the replacement character.
Search = Annotated[
    str, StringConstraints(max_length=MAX_SEARCH, pattern=r"^[^\x00\uFFFD]*$"), AfterValidator(_check_terms)
]
