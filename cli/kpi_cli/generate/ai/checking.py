"""Whether the words of an answer are a command of ``kpi make`` with valid arguments. What is not known is refused."""

from collections.abc import Collection
from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException

from kpi_cli.generate.ai.answers import Command, refuse

# The options that a plan may have, by the names of their parameters. One that is added to a command later is refused
# until it stands here: it could overwrite files, as force does.
_ALLOWED = {
    *("name", "service", "noun", "fields", "plural", "belongs_to", "soft_deletes"),
    *("access", "public", "protected", "admin", "method", "status", "values", "message"),
}
# An address may be the default of a field. What else a field has is checked word by word where it is read.
_WITHOUT_PATHS = _ALLOWED - {"fields"}


def parse(group: TyperGroup, allowed: Collection[str], command: Command, number: int) -> dict[str, Any]:
    """The parameters of the command, which is one of ``allowed``; FailureError says which one is refused, and why."""
    if len(command) < 2 or command[0] != "make":  # noqa: PLR2004 the group and its command
        raise refuse(number, f"is no command of kpi make: {command}")
    name, *arguments = command[1:]
    known = group.commands.get(name) if name in allowed else None
    if known is None:
        raise refuse(number, f"is none that a plan may have: {command}")
    try:
        # Without --help, which would print its page while it is parsed.
        context = known.make_context(f"kpi make {name}", arguments, help_option_names=[])
    except TyperException as error:
        raise refuse(number, f"is not valid: {command}: {error.format_message()}") from None
    for parameter in context.params:
        source = context.get_parameter_source(parameter)
        if source is not None and source.name == "COMMANDLINE" and parameter not in _ALLOWED:
            option = "--" + parameter.removeprefix("as_").replace("_", "-")
            raise refuse(number, f"has the option {option}, which a plan may not have: {command}")
    if any(_has_path(value) for name, value in context.params.items() if name in _WITHOUT_PATHS):
        raise refuse(number, f"has a path: {command}")
    return {name: value for name, value in context.params.items() if name in _ALLOWED}


def _has_path(value: object) -> bool:
    words = value if isinstance(value, list | tuple) else [value]
    return any(sign in word for word in words if isinstance(word, str) for sign in ("/", "\\", "..", "~"))
