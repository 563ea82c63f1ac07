"""What each command of ``kpi make`` plans, by its name; the parameters are those of the command."""

from collections.abc import Callable
from pathlib import Path

from kpi_cli.errors import FailureError
from kpi_cli.generate.changes import Plan
from kpi_cli.generate.pieces import endpoints, events, migrations, notifications, programs, rules, tables, trials
from kpi_cli.generate.service import plan_service
from kpi_cli.generate.specifying import choose_access
from kpi_cli.generate.wiring import plan_wired_resource


def _plan_service(checkout: Path, *, name: str) -> Plan:
    return plan_service(name, checkout)


def _plan_endpoint(  # noqa: PLR0913 as above
    checkout: Path,
    *,
    name: str,
    service: str,
    noun: str | None = None,
    method: str = "get",
    path: str | None = None,
    public: bool = False,
    protected: bool = False,
    admin: bool = False,
) -> Plan:
    access = choose_access(public=public, protected=protected, admin=admin)
    if access is None:
        sentence = "an endpoint needs a right: --public, --protected or --admin"
        raise FailureError("make", sentence, fix="--protected is right for most", code=2)
    return endpoints.plan_endpoint(
        checkout, name=name, service=service, access=access, noun=noun, method=method, path=path
    )


PLANNERS: dict[str, Callable[..., Plan]] = {
    "resource": plan_wired_resource,
    "service": _plan_service,
    "command": programs.plan_command,
    "endpoint": _plan_endpoint,
    "enum": rules.plan_enum,
    "error": rules.plan_error,
    "event": events.plan_event,
    "factory": tables.plan_seeding,
    "middleware": programs.plan_middleware,
    "migration": migrations.plan_migration,
    "model": tables.plan_model,
    "notifications": notifications.plan_notifications,
    "queue": migrations.plan_queue,
    "repository": tables.plan_repository,
    "seeder": tables.plan_seeding,
    "service-layer": tables.plan_service_layer,
    "test": trials.plan_test,
}
