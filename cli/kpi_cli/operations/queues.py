"""``kpi queue``: the jobs of the services, which each service reads from its own database."""

import json
from collections.abc import Sequence
from typing import Any

from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations import tables
from kpi_cli.operations.service_databases import open_databases

_STATUS = ("service", "queue", "waiting", "scheduled", "running", "failed", "oldest")
_FAILED = ("service", "id", "name", "queue", "attempts", "error", "failed_at", "stopped")


def print_status(layout: Layout, service: str | None, *, as_json: bool) -> None:
    found = _ask(layout, service, "show-queues", "queues")
    if as_json:
        print(json.dumps({"queues": found}))
        return
    tables.print_rows(_STATUS, [{**each, "oldest": f"{each['oldest_seconds']:.0f} s"} for each in found])


def print_failed(layout: Layout, service: str | None, *, limit: int, as_json: bool) -> None:
    found = _ask(layout, service, "list-failed-jobs", "jobs", limit=limit)
    if as_json:
        print(json.dumps({"jobs": found}))
        return
    tables.print_rows(_FAILED, [{**each, "stopped": ", ".join(each["stopped"]) or None} for each in found])


def retry(layout: Layout, service: str | None, ids: Sequence[int], *, is_all: bool, as_json: bool) -> None:
    """Those of ``ids``, or all. A job that has not failed is no error: another may have retried it."""
    if bool(ids) == is_all:
        problem = "either ids or --all" if ids else "no jobs are named"
        raise FailureError("queue", problem, fix=f"give ids that {KPI} queue failed prints, or --all", code=2)
    service, done = _change(layout, service, "retry", None if is_all else ids)
    print(json.dumps(done) if as_json else f"kpi: {service}: jobs that start anew: {done['retried']}")


def forget(layout: Layout, service: str | None, ids: Sequence[int], *, as_json: bool) -> None:
    """A job that has not failed is no error: another may have retried it."""
    service, done = _change(layout, service, "forget", ids)
    print(json.dumps(done) if as_json else f"kpi: {service}: jobs removed: {done['forgotten']}")


def _change(layout: Layout, service: str | None, verb: str, ids: Sequence[int] | None) -> tuple[str, dict[str, Any]]:
    if service is None:
        fix = f"{KPI} queue {verb} 7 -s content"
        raise FailureError("queue", "each service numbers its own jobs", fix=fix, code=2)
    with open_databases(layout, service) as (database,):
        done = database.ask(f"{verb}-failed-jobs", ids=ids)
    _require_queue(service, done)
    return service, done


def _ask(layout: Layout, service: str | None, command: str, member: str, **request: object) -> list[dict[str, Any]]:
    """The rows of one service or of all that have a queue, each with the name of its service."""
    with open_databases(layout, service) as databases:
        found = {each.part.name: each.ask(command, **request) for each in databases}
    if service is not None:
        _require_queue(service, found[service])
    return [{"service": name, **row} for name, result in found.items() for row in result.get(member, ())]


def _require_queue(service: str, result: dict[str, Any]) -> None:
    if "missing" in result:
        raise FailureError(service, f"it has no queue: {result['missing']}", fix="see docs/kit/queue.md")
