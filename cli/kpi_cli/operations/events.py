"""``kpi events``: how far auth's events have been read, by parts and through outlets, and reading all anew."""

import json
import os

from kpi_cli import auth_process, parts
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations import auth_commands
from kpi_cli.parts import Part
from kpi_cli.stack import environments, state

_WITH_INBOX = tuple(part for part in parts.PARTS if part.has_inbox)
WITH_INBOX = parts.join_names(_WITH_INBOX, "or")


def rebuild(layout: Layout, name: str, *, as_json: bool) -> None:
    part = parts.get_or_raise(name)
    if not part.has_inbox:
        raise FailureError("events", f"{name} keeps nothing of what it reads; {WITH_INBOX} does", code=2)
    done = auth_process.run(_environment(layout, part), "rebuild-inbox", {}, part=part)
    sentence = f"kpi: events: {name} has read {done['accounts']:,} accounts, and goes on at event {done['cursor']}"
    print(json.dumps(done) if as_json else sentence)


def print_status(layout: Layout, *, as_json: bool) -> None:
    found = {
        part.name: auth_process.run(_environment(layout, part), "show-inbox", {}, part=part) for part in _WITH_INBOX
    }
    if as_json:
        print(json.dumps(found))
        return
    print("part\tcursor\tlast\tbehind\tauthors")
    for name, each in found.items():
        cursor = "-" if each["cursor"] is None else each["cursor"]
        print(f"{name}\t{cursor}\t{each['last']}\t{each['behind']:.1f} s\t{each['authors']}")


def print_outlets(layout: Layout, *, as_json: bool) -> None:
    with auth_commands.environment(layout) as environment:
        found = auth_commands.run(environment, "show-outlets", {})
    if as_json:
        print(json.dumps(found))
        return
    print("outlet\tstate\tseq\twaiting\tfor\tlast error")
    for each in found["outlets"]:
        row = (
            each["name"],
            each["state"],
            each["seq"],
            each["waiting"],
            f"{each['seconds']:.1f} s",
            each["last_error"],
        )
        print("\t".join("-" if value is None else str(value) for value in row))


def _environment(layout: Layout, part: Part) -> dict[str, str]:
    """The settings of an installation that the shell names, or else of the running local stack, whose auth responds."""
    if environments.names_database():
        return dict(os.environ)
    running = state.read(layout)
    if running is None or running.phase is not state.Phase.READY:
        raise FailureError("stack", "it is not running, and auth's events are read from it", fix="make up")
    return environments.environment(layout, part, running.ports)
