"""How texts become words. The database's function ``search_words`` does the same for the index: a test compares both.

Neither depends on the locale of the server. PostgreSQL's own parser does: with LC_CTYPE=C it makes every character
outside ASCII a part of a word, be it a curly quote, a dash, a no-break space or an emoji.
"""

import re
import unicodedata

# Marks on letters, and characters that are not seen: "café" is "cafe", and a soft hyphen does not divide a word.
_IGNORED = (
    r"[\u00ad\u0300-\u036f\u061c\u180e\u200c-\u200f\u202a-\u202e\u2060-\u2069\u20d0-\u20ff\ufe00-\ufe0f\ufeff"
    r"\U000e0020-\U000e007f]+"
)
# Letters that Unicode does not decompose, as in "Straße", "Æther", "Øresund" and "Łódź"; the dotless i of Turkish, and
# the sigma at the end of Greek words, which is another one within them.
_LETTERS = {"\u0131": "i", "\u03c2": "\u03c3", "ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ß": "ss", "æ": "ae", "œ": "oe"}
# The zero-width space; squared and circled letters, which Unicode calls alphabetic, and flags.
_MORE_SEPARATORS = frozenset({0x200B, *range(0x1F100, 0x1F200)})

_ignored = re.compile(_IGNORED)
_letters = str.maketrans(_LETTERS)


def fold(text: str) -> str:
    """The text in the one form that all its spellings have: no marks, no full width, no capitals."""
    bare = _ignored.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFKC", bare).lower().translate(_letters)


def is_separator(character: str) -> bool:
    """Whether a character of a folded text stands between words: punctuation, symbols and white space."""
    if character.isascii():
        return not character.isalnum()
    category = unicodedata.category(character)
    return category[0] in "PSZ" or category == "Cc" or ord(character) in _MORE_SEPARATORS


def split_words(folded: str) -> list[str]:
    return "".join(" " if is_separator(character) else character for character in folded).split()
