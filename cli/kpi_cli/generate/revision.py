"""``kpi db revision``: the migration that the models of a service need.

It is made and tried on a database of its own, so that of the stack, or of DATABASE_URL, is neither read nor migrated.
"""

import json

from kpi_cli import parts
from kpi_cli.errors import KPI, FailureError
from kpi_cli.generate import applying, records, scratch, steps, writing
from kpi_cli.generate.changes import Plan
from kpi_cli.layout import Layout
from kpi_cli.parts import Part


def write_revision(layout: Layout, service: str | None, message: str, *, as_json: bool) -> None:
    """Write a migration, or say that the models need none."""
    part = _choose(service)
    if not message.strip():
        raise FailureError("db", "a migration needs a message", fix='-m "add bios"', code=2)
    files = _write(layout, part, message.strip())
    if as_json:
        print(json.dumps({"service": part.name, "files": files}))
        return
    if not files:
        print(f"kpi: {part.name}: the models need no migration, and none was written")
    for file in files:
        print(f"kpi: wrote {file}; to run it: {KPI} db migrate -s {part.name}")


def _choose(service: str | None) -> Part:
    if service is None:
        raise FailureError("db", "a migration is of one service", fix=f'{KPI} db revision -s content -m "..."', code=2)
    part = parts.get_or_raise(service)
    if not part.has_database:
        services = parts.join_names(parts.WITH_DATABASE, "and")
        raise FailureError(service, f"it has no database; those with one are {services}", code=2)
    return part


def _write(layout: Layout, part: Part, message: str) -> list[str]:
    plan = Plan(title=f"migration of {part.name}", changes=(), steps=(steps.write_migration(part.folder, message),))
    with records.hold(layout), scratch.copy(layout.checkout) as root:
        before = scratch.hash_files(root)
        applying.carry_out(root, plan)
        files, was = applying.compare(layout.checkout, scratch.find_changes(root, before), before)
        if files:
            path, record = records.create(layout, plan.title, files)
            writing.replace_files(layout.checkout, records.journal(layout), {**files, path: record}, was=was)
    return list(files)
