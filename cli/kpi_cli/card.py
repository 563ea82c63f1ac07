"""The start card: where everything is, as a panel for people, as JSON, or as lines for a shell."""

import json
import shlex
from enum import StrEnum

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from kpi_cli.layout import Layout
from kpi_cli.parts import PARTS
from kpi_cli.ports import HOST, Ports
from kpi_cli.state import Phase, State


class Format(StrEnum):
    """How ``kpi status`` prints."""

    CARD = "card"
    ENV = "env"
    JSON = "json"


def facts(layout: Layout, state: State | None) -> dict[str, str]:
    """What scripts want to know; no secret is among it, only the names of their files."""
    where = {"logs": str(layout.logs), "data": str(layout.data), "mails": str(layout.mails)}
    if state is None or state.phase is Phase.DATABASE:
        return {"status": "stopped", **where}
    ports = state.ports
    return {
        "status": str(state.phase),
        "pid": str(state.pid),
        "gateway_url": state.gateway,
        "docs_url": f"{state.gateway}/docs",
        "auth_url": f"http://{HOST}:{ports.auth}",
        "content_url": f"http://{HOST}:{ports.content}",
        **{f"{part}_metrics_url": _metrics(ports, part) for part in PARTS},
        "postgres_address": f"{HOST}:{ports.postgres}",
        "auth_database_url_file": str(layout.secrets / "auth_database_url"),
        "content_database_url_file": str(layout.secrets / "content_database_url"),
        **where,
    }


def _metrics(ports: Ports, part: str) -> str:
    return f"http://{HOST}:{ports.metrics_of(part)}/metrics"


def as_json(layout: Layout, state: State | None) -> str:
    """The facts as one JSON object."""
    return json.dumps(facts(layout, state), indent=2)


def as_env(layout: Layout, state: State | None) -> str:
    """The facts as assignments that a shell can evaluate."""
    return "\n".join(f"KPI_{name.upper()}={shlex.quote(value)}" for name, value in facts(layout, state).items())


def show(console: Console, layout: Layout, state: State, seconds: float | None = None) -> None:
    """Print the card; ``seconds`` is how long the start took, for the one who started and now follows the logs."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(layout, state, following=seconds is not None):
        table.add_row(name, text)
    took = f", ready in {seconds:.1f} s" if seconds is not None else ""
    console.print(Panel(table, title=f"KPI-One is {_word(state)}{took}", title_align="left", highlight=False))


def _word(state: State) -> str:
    return "up" if state.phase is Phase.READY else str(state.phase)


def _rows(layout: Layout, state: State, *, following: bool) -> list[tuple[str, str]]:
    return [
        ("Gateway", state.gateway),
        ("API docs", f"{state.gateway}/docs"),
        ("Try first", f"curl {state.gateway}/api/v1/posts"),
        ("Metrics", ", ".join(f"{_metrics(state.ports, part)} ({part})" for part in PARTS)),
        ("Logs", f"{layout.show(layout.logs)}/{', and below this card' if following else ''}"),
        ("Data", f"{layout.show(layout.data)}/ (PostgreSQL on {HOST}:{state.ports.postgres})"),
        ("Mails", f"{layout.show(layout.mails)}/ (sent instead where MAIL_URL is set)"),
        ("Sample data", "make load, in another terminal"),
        ("Stop", f"Ctrl-C, or kill {state.pid}"),
    ]
