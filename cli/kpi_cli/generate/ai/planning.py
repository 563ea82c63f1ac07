"""From words to commands of which it is known that they are some."""

from collections.abc import Mapping

from typer.core import TyperGroup

from kpi_cli.generate.ai import answers, asking, checking, endpoint, prompt
from kpi_cli.generate.ai.carrying_out import Planned, Planner
from kpi_cli.generate.services import find_services
from kpi_cli.generate.specifying import find_tables
from kpi_cli.layout import Layout


def ask_for_plan(
    where: Layout, request: str, environment: Mapping[str, str], *, group: TyperGroup, planners: Mapping[str, Planner]
) -> list[Planned]:
    """FailureError, if there is no endpoint, if it does not answer, or if its answer is anything but such commands."""
    found = endpoint.find(environment)
    services = find_services(where.checkout).values()
    tables = {service.name: [name for name, _ in find_tables(where.checkout, service)] for service in services}
    messages = prompt.compose(request, tables)
    commands = answers.read(asking.ask(found, messages))
    parsed = [checking.parse(group, planners, command, number) for number, command in enumerate(commands, 1)]
    return [
        Planned(command, planners[command[1]], parameters) for command, parameters in zip(commands, parsed, strict=True)
    ]
