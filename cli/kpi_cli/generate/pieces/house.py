"""Where a piece goes: the nouns of a service, their files, and what stands in them."""

import ast
import builtins
import keyword
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.generate.fields.names import inflect_words, split_words
from kpi_cli.generate.services import get_service
from kpi_cli.generate.specs import Names, ServiceSpec


@dataclass(frozen=True)
class House:
    """One service of a checkout, as it is before anything is made."""

    checkout: Path
    service: ServiceSpec

    def path(self, *names: str) -> str:
        """A file of the package, relative to the checkout: ``path("posts", "errors.py")``."""
        return "/".join((self.service.folder, self.service.package, *names))

    def test_path(self, *names: str) -> str:
        return "/".join((self.service.folder, "tests", *names))

    def read(self, path: str) -> str | None:
        """The text of a file of the checkout, or None if there is none."""
        file = self.checkout / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    def get(self, path: str) -> str:
        """The text of a file that the piece needs; FailureError if there is none."""
        text = self.read(path)
        if text is None:
            raise FailureError("make", f"{path} is needed for this, and does not exist", code=2)
        return text

    def nouns(self) -> list[str]:
        return sorted(file.parent.name for file in (self.checkout / self.path()).glob("*/__init__.py"))

    def has_noun(self, noun: str) -> bool:
        return noun in self.nouns()


def open_house(checkout: Path, service: str) -> House:
    return House(checkout, get_service(checkout, service))


def find_noun(house: House, name: str, given: str | None) -> str:
    """The folder that a piece named ``name`` goes into: ``given``, or the noun that the name begins with.

    ``PostLocked`` goes into posts, ``OrderItemKind`` into order_items rather than orders.
    """
    nouns = house.nouns()
    if given is not None:
        noun = "_".join(split_words(given))
        if noun in nouns:
            return noun
        raise FailureError("make", f"there is no noun {given!r} in {_describe(house)}", fix=_MAKE_NOUN, code=2)
    words = split_words(name)
    for count in range(len(words), 0, -1):
        _, plural = inflect_words(words[:count])
        if "_".join(plural) in nouns:
            return "_".join(plural)
    raise FailureError("make", f"no noun of {_describe(house)} begins {name!r}", fix="say which one: --in NOUN", code=2)


_MAKE_NOUN = "kpi make model NAME or kpi make endpoint NAME makes a new noun"


def _describe(house: House) -> str:
    return f"{house.service.name} ({', '.join(house.nouns())})"


def names_of_noun(noun: str) -> Names:
    """The names of a noun that exists, whose folder is its plural."""
    words = tuple(noun.split("_"))
    singular, plural = inflect_words(words)
    # Of a folder such as live, whose name is no plural.
    return Names(words=singular if plural == words else words, plural_words=words)


def class_name(words: Iterable[str], *, suffix: str = "") -> str:
    """``PostLocked``; FailureError for a name that Python has."""
    return _check_identifier("".join(word.capitalize() for word in words) + suffix)


def function_name(words: Iterable[str]) -> str:
    """``archive_post``; FailureError for a name that Python has."""
    return _check_identifier("_".join(words))


def _check_identifier(name: str) -> str:
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name):
        raise FailureError("make", f"Python has the name {name} itself", fix="choose another name", code=2)
    return name


def find_class(source: str, name: str) -> ast.ClassDef | None:
    return next((node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name), None)


def defined_names(source: str) -> set[str]:
    """The names that a module has at its top."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
    return names


def sentence(words: tuple[str, ...]) -> str:
    """``("post", "locked")``: ``Post locked``."""
    return " ".join(words).capitalize()
