"""Where everything is, as a panel for people, as JSON, or as lines for a shell."""

import json
import shlex
from collections.abc import Sequence
from enum import StrEnum
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from kpi_cli import PRODUCT
from kpi_cli.errors import KPI
from kpi_cli.layout import Layout
from kpi_cli.parts import PARTS, SERVICES, WITH_DATABASE, Part
from kpi_cli.stack.ports import HOST, Ports
from kpi_cli.stack.state import Phase, State

# An answer that takes longer is left out of the card.
_ASK_SECONDS = 2


class Format(StrEnum):
    """How ``kpi status`` prints."""

    CARD = "card"
    ENV = "env"
    JSON = "json"


def facts(layout: Layout, state: State | None, left: Sequence[psutil.Process] = ()) -> dict[str, str]:
    """What scripts need to know; it holds no secret, only the names of their files.

    ``left`` is what a killed ``kpi up`` left running; scripts find its process ids under ``left_pids``.
    """
    folders = {"logs": str(layout.logs), "data": str(layout.data), "mails": str(layout.mails)}
    if left:
        return {"status": "killed", "left_pids": " ".join(str(process.pid) for process in left), **folders}
    if state is None or state.phase is Phase.DATABASE:
        return {"status": "stopped", **folders}
    ports = state.ports
    return {
        "status": str(state.phase),
        "pid": str(state.pid),
        "gateway_url": state.gateway,
        "docs_url": f"{state.gateway}/docs",
        **{f"{part.name}_url": f"http://{HOST}:{ports.of(part)}" for part in SERVICES},
        **{f"{part.name}_metrics_url": _metrics_url(ports, part) for part in PARTS},
        "postgres_address": f"{HOST}:{ports.postgres}",
        **{
            f"{part.name}_database_url_file": str(layout.secrets / f"{part.name}_database_url")
            for part in WITH_DATABASE
        },
        **folders,
    }


def _metrics_url(ports: Ports, part: Part) -> str:
    return f"http://{HOST}:{ports.metrics_of(part)}/metrics"


def as_json(layout: Layout, state: State | None, left: Sequence[psutil.Process] = ()) -> str:
    """The facts as one JSON object."""
    return json.dumps(facts(layout, state, left), indent=2)


def as_env(layout: Layout, state: State | None, left: Sequence[psutil.Process] = ()) -> str:
    """The facts as assignments that a shell can evaluate."""
    known = facts(layout, state, left)
    return "\n".join(f"KPI_{name.upper()}={shlex.quote(value)}" for name, value in known.items())


def show(console: Console, layout: Layout, state: State, seconds: float | None = None) -> None:
    """Print the card; ``seconds`` is how long the start took, for ``kpi up``, which then follows the logs."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(layout, state, following=seconds is not None):
        table.add_row(name, text)
    took = f", ready in {seconds:.1f} s" if seconds is not None else ""
    console.print(Panel(table, title=f"{PRODUCT} is {state.phase.word}{took}", title_align="left", highlight=False))


def render(console: Console, layout: Layout, state: State, seconds: float) -> str:
    """The card as a text for that console's output."""
    with console.capture() as capture:
        show(console, layout, state, seconds)
    return capture.get()


def _rows(layout: Layout, state: State, *, following: bool) -> list[tuple[str, str]]:
    return [
        ("Gateway", state.gateway),
        ("API docs", f"{state.gateway}/docs"),
        ("Try first", f"curl {state.gateway}/api/v1/posts"),
        ("Metrics", ", ".join(f"{_metrics_url(state.ports, part)} ({part.name})" for part in PARTS)),
        ("Logs", f"{layout.shorten(layout.logs)}/{', and below this card' if following else ''}"),
        ("Data", f"{layout.shorten(layout.data)}/ (PostgreSQL on {HOST}:{state.ports.postgres})"),
        ("E-mails", state.mail or f"{layout.shorten(layout.mails)}/ (sent instead when MAIL_URL is set)"),
        *_bootstrap_row(state.ports),
        *([("Sample data", "make load, in another terminal")] if layout.sample_data.exists() else []),
        ("Stop", f"Ctrl-C, or kill {state.pid}"),
    ]


def _bootstrap_row(ports: Ports) -> list[tuple[str, str]]:
    """How to make the first admin, as long as there is none."""
    auth = next(part for part in PARTS if part.has_internal_port)
    try:
        with urlopen(f"http://{HOST}:{ports.of(auth)}/bootstrap", timeout=_ASK_SECONDS) as response:
            is_open = json.load(response)["is_open"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return [("Bootstrap", f"{KPI} bootstrap, to make the first admin and an API key")] if is_open else []
