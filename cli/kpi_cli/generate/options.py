"""The options that all commands of ``kpi make`` have."""

from typing import Annotated

import typer

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the files and the differences, and write nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist with other contents.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
