"""``kpi make service``."""

from typing import Annotated

import typer

from kpi_cli import layout
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
    from kpi_cli.generate import applying, interruptions  # noqa: PLC0415 - only kpi make needs this, and Jinja2 below
    from kpi_cli.generate.service import plan_service  # noqa: PLC0415

    where = layout.find()
    with interruptions.report(where):
        plan = plan_service(name, where.checkout)
        applying.run_plan(where, plan, dry_run=dry_run, force=force, as_json=as_json)
