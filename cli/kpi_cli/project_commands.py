"""``kpi new`` and ``kpi upgrade``: a project of one's own, and later versions of the platform in it."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kpi_cli import layout
from kpi_cli.projects.extras import Extra

With = Annotated[
    list[Extra] | None,
    typer.Option("--with", help="Have this too: the benchmark, or the sample posts of make load. May be given twice."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def new(
    name: Annotated[str, typer.Argument(help="The project's name: letters, digits and hyphens.")],
    *,
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL|FOLDER", help="A git repository instead of this checkout.")
    ] = None,
    ref: Annotated[
        str | None, typer.Option(help="A tag, branch or commit of it; by default what is checked out there.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The folder to make; by default NAME, beside this checkout.")] = None,
    extras: With = None,
    as_json: AsJson = False,
) -> None:
    """Make a project of your own from this one, as a git repository with one commit.

    It has its own name, and neither the history of this repository nor its uncommitted changes.
    """
    from kpi_cli.projects import creating, printing  # noqa: PLC0415 - importing Copier takes longer than most commands

    found = layout.find()
    with printing.clean_failures(), Console(stderr=True).status("Copying the platform"):
        made = creating.create(found, name, address=source, ref=ref, folder=to, extras=frozenset(extras or ()))
    if made.has_uncommitted:
        print("kpi: new: the changes of this checkout that are not committed are not in the project", file=sys.stderr)
    if as_json:
        facts = {"name": made.answers.name, "folder": str(made.folder), "commit": made.answers.commit}
        print(json.dumps(facts | {"source": made.answers.source}))
        return
    print(f"kpi: made {made.answers.name} in {made.folder}, from {made.version} of the platform")
    print(f"Start it:    cd {made.folder} && make up")


def upgrade(
    *,
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL|FOLDER", help="A git repository instead of the one it is from.")
    ] = None,
    ref: Annotated[
        str | None, typer.Option(help="A tag, branch or commit of it; by default what is checked out there.")
    ] = None,
    extras: With = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the changes and the conflicts; change nothing.")
    ] = False,
    other_branch: Annotated[
        bool, typer.Option("--other-branch", help="Take back commits of the platform that the other version lacks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Merge a later version of the platform into this project, as one commit that can be taken back.

    Where both have changed the same lines, git marks the conflict in the file, and the exit code is 1.
    """
    from kpi_cli.projects import printing, report, upgrading  # noqa: PLC0415 - importing Copier takes longer than most commands

    found = layout.find()
    with printing.clean_failures(), Console(stderr=True).status("Comparing two versions of the platform"):
        done = upgrading.upgrade(
            found,
            address=source,
            ref=ref,
            extras=frozenset(extras or ()),
            dry_run=dry_run,
            other_branch=other_branch,
        )
    if as_json:
        print(json.dumps(report.facts(done, dry_run=dry_run)))
    else:
        print("\n".join(report.lines(done, dry_run=dry_run)))
    if done is not None and done.conflicts:
        raise typer.Exit(1)
