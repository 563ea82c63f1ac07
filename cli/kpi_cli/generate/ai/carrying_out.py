"""A plan of several commands as one: each is planned on what those before it leave, and all are made or none."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from kpi_cli.errors import FailureError
from kpi_cli.generate import applying, scratch
from kpi_cli.generate.ai.answers import Command
from kpi_cli.generate.changes import Plan
from kpi_cli.layout import Layout

# What a command of kpi make plans in a checkout, or in a copy of one, with its parameters.
Planner = Callable[..., Plan]


class Planned(NamedTuple):
    """A command of which it is known that it is one, with its parameters."""

    command: Command
    planner: Planner
    parameters: Mapping[str, Any]

    def plan(self, number: int, root: Path) -> Plan:
        try:
            return self.planner(root, **self.parameters)
        except FailureError as failure:
            raise _in_plan(failure, number, self.command) from None


def check(where: Layout, planned: Sequence[Planned]) -> list[Plan]:
    """The plan of each command; FailureError for the first that cannot be made. Nothing is written to the checkout."""
    plans = []
    with scratch.copy(where.checkout) as root:
        for number, item in enumerate(planned, 1):
            plan = item.plan(number, root)
            try:
                applying.make(root, plan)
            except FailureError as failure:
                raise _in_plan(failure, number, item.command) from None
            plans.append(plan)
    return plans


def join(planned: Sequence[Planned], plans: Sequence[Plan]) -> Plan:
    """One plan, so that all is made or nothing, and taken back together."""
    steps = [partial(_carry_out, number, item) for number, item in enumerate(planned, 1)]
    notes = dict.fromkeys(note for plan in plans for note in plan.notes)
    title = ", ".join(plan.title for plan in plans)
    return Plan(title=title, changes=(), steps=tuple(steps), notes=tuple(notes))


def _carry_out(number: int, planned: Planned, root: Path) -> None:
    try:
        applying.carry_out(root, planned.plan(number, root))
    except FailureError as failure:
        raise _in_plan(failure, number, planned.command) from None


def _in_plan(failure: FailureError, number: int, command: Command) -> FailureError:
    if failure.part == "ai":
        return failure
    sentence = f"command {number} of the plan, {command}, cannot be made: {failure.sentence}"
    return FailureError("ai", f"{sentence}; nothing was made", fix=failure.fix, log=failure.log)
