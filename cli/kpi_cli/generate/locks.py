"""The lock file of a new package, from that of another one: neither a network nor a package index is needed."""

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

# uv pip compile: the requirement with its hashes, then who wants it.
_BLOCK = re.compile(r"^\S.*\n(?:[ \t]+.*\n)*", re.MULTILINE)
_NAME = re.compile(r"^([\w.-]+)")
_KIT = "kpi-kit"
_WANTED_BY = re.compile(r"^ +# (?:via|  ) ?([\w.-]+)", re.MULTILINE)


def derive_lock(lock: str, *, root: str, inner: Mapping[str, Collection[str]] | None = None) -> str:
    """What ``root`` wants of a lock file, and what that wants in turn, in the same versions.

    ``inner`` are the packages of the project that it wants, each with what it takes of their requirements.
    """
    inner = inner or {}
    blocks = {match[0]: _find_wanting(match[0], inner) for match in _BLOCK.finditer(lock)}
    kept = {root, *inner}
    while True:
        found = {_name_of(block) for block, wanted_by in blocks.items() if wanted_by & kept}
        if found <= kept:
            break
        kept |= found
    text = "".join(_without_others(block, wanting & kept) for block, wanting in blocks.items() if wanting & kept)
    excluded = "".join(f"# {name}\n" for name in (root, *inner))
    return f"{text}\n# The following packages were excluded from the output:\n{excluded}"


def find_inner(checkout: Path) -> dict[str, set[str]]:
    """The kit, with what a service takes of its requirements through the shared library."""
    shared, kit = (tomllib.loads((checkout / name / "pyproject.toml").read_text("utf-8")) for name in ("shared", "kit"))
    asked = [line for line in shared["project"]["optional-dependencies"]["service"] if line.startswith(f"{_KIT}[")]
    extras = [extra for line in asked for extra in re.findall(r"[\w-]+", line)[1:]]
    more = kit["project"]["optional-dependencies"]
    wanted = [*kit["project"]["dependencies"], *(line for extra in extras for line in more[extra])]
    return {_KIT: {_name_of(line) for line in wanted}}


def _find_wanting(block: str, inner: Mapping[str, Collection[str]]) -> set[str]:
    name = _name_of(block)
    return {each for each in _WANTED_BY.findall(block) if each not in inner or name in inner[each]}


def _name_of(block: str) -> str:
    match = _NAME.match(block)
    return match[1] if match else ""


def _without_others(block: str, kept: set[str]) -> str:
    """The block with those names alone, in the form that uv gives it."""
    names = [name for name in _WANTED_BY.findall(block) if name in kept]
    requirement = block.partition("    # via")[0]
    if len(names) == 1:
        return f"{requirement}    # via {names[0]}\n"
    return requirement + "    # via\n" + "".join(f"    #   {name}\n" for name in names)
