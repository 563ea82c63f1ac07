"""The planner of each piece, by the name of its command; its parameters are those of the command."""

from collections.abc import Callable

from kpi_cli.generate.changes import Plan
from kpi_cli.generate.pieces import events, migrations, programs, rules, tables, trials

PLANNERS: dict[str, Callable[..., Plan]] = {
    "command": programs.plan_command,
    "enum": rules.plan_enum,
    "error": rules.plan_error,
    "event": events.plan_event,
    "middleware": programs.plan_middleware,
    "migration": migrations.plan_migration,
    "model": tables.plan_model,
    "repository": tables.plan_repository,
    "service-layer": tables.plan_service_layer,
    "test": trials.plan_test,
}
