"""``kpi make service``."""

from typing import Annotated

import typer

from kpi_cli import make_piece_commands
from kpi_cli.generate.options import DryRun, Force, Json


def make_service(
    name: Annotated[str, typer.Argument(help="The name, as billing or order_desk.")],
    *,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a service: package, database and role, migrations, image, container, row in the local stack, tests.

    It has health endpoints only; its first resource is made with: kpi make resource NAME -s SERVICE
    """
    make_piece_commands.run("service", name=name, dry_run=dry_run, force=force, as_json=as_json)
