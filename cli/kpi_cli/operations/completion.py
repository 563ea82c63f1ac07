"""``kpi completion``: the script by which a shell completes this command, and the values that it offers."""

import json
from enum import StrEnum

from kpi_cli import layout, parts
from kpi_cli.operations import logs

# The variable by which the script asks, as the library names it after the program.
VARIABLE = "_KPI_COMPLETE"


class Shell(StrEnum):
    """A shell that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def prepare() -> None:
    """Let the library understand the question of a shell, which it otherwise does only if it also installs scripts."""
    from typer.completion import get_completion_inspect_parameters  # noqa: PLC0415 - only a shell that asks needs it

    get_completion_inspect_parameters()


def print_script(shell: Shell, *, as_json: bool) -> None:
    """Print the script, which asks the very command that is being typed: there may be one in each checkout."""
    from typer.completion import (  # type: ignore[attr-defined] # noqa: PLC0415 - as above; it is made elsewhere
        get_completion_script,
    )

    script = get_completion_script(prog_name="kpi", complete_var=VARIABLE, shell=shell.value)
    if shell is Shell.ZSH:
        script = script.replace("=complete_zsh kpi)", "=complete_zsh ${~words[1]})")
    elif shell is Shell.FISH:
        script = script.replace("(commandline -cp) kpi)", "(commandline -cp) (commandline -opc)[1])")
        script = script.replace('(commandline -cp) kpi"', '(commandline -cp) (commandline -opc)[1]"')
    print(json.dumps({"shell": shell, "script": script}) if as_json else script)


def complete_part(incomplete: str) -> list[str]:
    return [part.name for part in parts.PARTS if part.name.startswith(incomplete)]


def complete_service(incomplete: str) -> list[str]:
    return [part.name for part in parts.WITH_DATABASE if part.name.startswith(incomplete)]


def complete_log(incomplete: str) -> list[str]:
    return [name for name in logs.NAMES if name.startswith(incomplete)]


def complete_seeder(incomplete: str) -> list[str]:
    """The modules of the services' seeding packages, found by their files."""
    checkout = layout.find().checkout
    folders = [checkout / part.folder / part.package / "seeding" for part in parts.WITH_DATABASE]
    names = {path.stem for folder in folders for path in folder.glob("*.py")} - {"__init__"}
    return sorted(name for name in names if name.startswith(incomplete))
