"""The notifications of a service: the table that kpi_kit.notify writes into, and how accounts read it."""

from pathlib import Path

from kpi_cli.generate import editing, steps
from kpi_cli.generate.changes import Edit, NewFile, Plan
from kpi_cli.generate.pieces.house import open_house
from kpi_cli.generate.rendering import render
from kpi_cli.generate.specifying import specify_resource
from kpi_cli.generate.wiring import allow, include, place_noun, route

_NOUN = "notifications"
_MODULES = ("__init__", "endpoints", "service", "repository", "models", "schemas", "filters", "errors")
_ADDRESS = f"/api/v1/{_NOUN}"
_RIGHTS = (
    (f"GET {_ADDRESS}", "read"),
    (f"GET {_ADDRESS}/unread-count", "read"),
    (f"POST {_ADDRESS}/read", "write"),
    (f"POST {_ADDRESS}/{{notification_id}}/read", "write"),
)
# Each service deletes these.
_TASK = r'^ +"idempotency_keys": idempotency_keys\.forget_old,$'


def plan_notifications(checkout: Path, *, service: str) -> Plan:
    """The noun, and the places that it needs outside of its folder. FailureError if its name is taken."""
    house = open_house(checkout, service)
    spec = specify_resource(checkout, "Notification", service=service)
    package = f"{house.service.package}.{_NOUN}"
    values = {"service": house.service, "package": package}
    files = [NewFile(house.path(_NOUN, f"{name}.py"), render(f"{_NOUN}/{name}.py.j2", **values)) for name in _MODULES]
    tests = NewFile(
        house.test_path(_NOUN, "test_notifications.py"), render(f"{_NOUN}/tests/test_notifications.py.j2", **values)
    )
    edits = (
        include(spec, "Notifications: your own, read and unread"),
        place_noun(spec, checkout),
        Edit(house.path("housekeeping.py"), lambda text: _forget(text, package)),
        route(spec),
        allow(_RIGHTS),
    )
    return Plan(
        title=f"notifications in {service}",
        changes=(*files, tests, *edits),
        steps=(steps.write_migration(house.service.folder, _NOUN), steps.write_openapi),
        notes=(
            f"its tests: .venv/bin/pytest {house.service.folder}/tests/{_NOUN}",
            f"its address, through the gateway: {_ADDRESS}",
            "to write into it, see docs/kit/notify.md",
        ),
        noun=house.path(_NOUN),
    )


def _forget(source: str, package: str) -> str:
    """Old ones are deleted by the housekeeping of the service. The formatter gives the line its place."""
    source = editing.add_import(source, f"from {package} import repository as {_NOUN}")
    task = f'"{_NOUN}": {_NOUN}.forget_old,'
    return source if task in source else editing.add_line_after(source, _TASK, f"    {task}")
