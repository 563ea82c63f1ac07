"""The lock file of a new package, from that of another one: neither a network nor a package index is needed."""

import re

# uv pip compile: the requirement with its hashes, then who wants it.
_BLOCK = re.compile(r"^\S.*\n(?:[ \t]+.*\n)*", re.MULTILINE)
_NAME = re.compile(r"^([\w.-]+)")
_WANTED_BY = re.compile(r"^ +# (?:via|  ) ?([\w.-]+)", re.MULTILINE)


def derive_lock(lock: str, *, root: str) -> str:
    """What ``root`` wants of a lock file, and what that wants in turn, in the same versions."""
    blocks = {match[0]: set(_WANTED_BY.findall(match[0])) for match in _BLOCK.finditer(lock)}
    kept = {root}
    while True:
        found = {_name_of(block) for block, wanted_by in blocks.items() if wanted_by & kept}
        if found <= kept:
            break
        kept |= found
    text = "".join(_without_others(block, kept) for block in blocks if _name_of(block) in kept)
    return f"{text}\n# The following packages were excluded from the output:\n# {root}\n"


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
