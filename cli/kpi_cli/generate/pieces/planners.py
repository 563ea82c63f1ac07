"""The planner of each piece, by the name of its command; its parameters are those of the command."""

from collections.abc import Callable

from kpi_cli.generate.changes import Plan
from kpi_cli.generate.pieces import events, migrations, programs, rules, trials

PLANNERS: dict[str, Callable[..., Plan]] = {
    "command": programs.plan_command,
    "enum": rules.plan_enum,
    "error": rules.plan_error,
    "event": events.plan_event,
    "middleware": programs.plan_middleware,
    "migration": migrations.plan_migration,
    "repository": rules.plan_repository,
    "service-layer": rules.plan_service_layer,
    "test": trials.plan_test,
}
