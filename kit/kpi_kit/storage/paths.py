"""The paths of files: one rule for all drivers, so that what one takes, each takes."""

import re
import unicodedata

from kpi_kit.storage.errors import PathError

_LONGEST = 700
_LONGEST_NAME = 200
MOST_NAMES = 32
# No driver gives one of these a meaning of its own: no slash, colon, percent, wildcard, quotation mark or tilde.
_SIGNS = frozenset(" -_.,+=@()[]{}!$&';")
# Letters, marks and digits, of all scripts. Signs that look like a slash or a dot are in none of these.
_KINDS = frozenset("LMN")
# Windows takes these for devices, with any extension and in any case.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])\s*(\..*)?", re.IGNORECASE)


def check_path(path: str) -> str:
    """The path itself, such as ``invoices/2026/17.pdf``; PathError for any other form.

    Names are separated by ``/``. A name has letters and digits of any script and the signs ``-_.,+=@()[]{}!$&';`` and
    space; it does not begin with a dot or a space, nor end with one, and has at most 200 bytes in UTF-8. The
    whole has at most 700 bytes and 32 names.
    """
    if not isinstance(path, str):
        raise PathError("a path is a text")
    _check_text(path)
    names = path.split("/")
    if len(names) > MOST_NAMES:
        raise PathError(f"a path has at most {MOST_NAMES} names")
    for name in names:
        _check_name(name)
    return path


def is_path(path: str) -> bool:
    try:
        check_path(path)
    except PathError:
        return False
    return True


def check_prefix(prefix: str) -> str:
    """The path of a folder without its last slash, or an empty text for all files."""
    return check_path(prefix.removesuffix("/")) if prefix else ""


def _check_text(path: str) -> None:
    if len(path) > _LONGEST or len(path.encode(errors="surrogatepass")) > _LONGEST:
        raise PathError(f"a path has at most {_LONGEST} bytes")
    if not all(character == "/" or _is_allowed(character) for character in path):
        raise PathError("a path has a character other than letters, digits and -_.,+=@()[]{}!$&'; and space")
    if unicodedata.normalize("NFKC", path) != path:
        # Two texts of the same look would be two files, or one, as the file system likes it.
        raise PathError("a path has a character that has a plainer form (Unicode NFKC)")


def _is_allowed(character: str) -> bool:
    return character in _SIGNS or unicodedata.category(character)[0] in _KINDS


def _check_name(name: str) -> None:
    if not name:
        raise PathError("a path has no empty name, and neither begins nor ends with a slash")
    if len(name.encode()) > _LONGEST_NAME:
        raise PathError(f"a name in a path has at most {_LONGEST_NAME} bytes")
    if name[0] in ". " or name[-1] in ". ":
        raise PathError("a name in a path neither begins nor ends with a dot or a space")
    if _DEVICE.fullmatch(name):
        raise PathError("a name in a path is not that of a device")
