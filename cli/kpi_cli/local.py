"""Lends a command the local stack's database: the running one, or one started for the time of it."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kpi_cli import databases, migrations, parts, postgres, processes, stack, state
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.ports import Ports, choose_without_gateway, is_free, recall
from kpi_cli.state import BusyError, Phase


def tell(sentence: str) -> None:
    """A sentence about what happens, on standard error, so that it never mixes with a command's output."""
    print(f"kpi: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def database(layout: Layout) -> Iterator[Ports]:
    """The ports of a stack whose database answers while the block runs."""
    running = state.read(layout)
    if running is not None and running.phase is Phase.READY:
        yield running.ports
        return
    try:
        with state.hold(layout), _own(layout) as ports:
            yield ports
    except BusyError as busy:
        raise FailureError("stack", busy.sentence, fix="try again when it is ready or stopped") from busy


@contextmanager
def _own(layout: Layout) -> Iterator[Ports]:
    stack.prepare(layout, tell)
    tell("the stack is stopped: its database is started for the time of this command")
    ports = choose_without_gateway(layout)
    state.write(layout, Phase.DATABASE, ports)
    account = postgres.account(layout)
    postgres.initialise(layout, account)
    with _server(layout, ports, account, layout.logs / "postgres.log"):
        databases.prepare(layout, ports.postgres)
        yield ports


def remembered_ports(layout: Layout) -> Ports:
    """The running stack's ports, or else the last one's; 0 stands for one that is not known."""
    running = state.read(layout)
    kept = recall(layout)
    names = ("gateway", "auth", "content", "postgres")
    return running.ports if running else Ports(**{name: kept.get(name, 0) for name in names})


@contextmanager
def look(layout: Layout) -> Iterator[Ports]:
    """As ``database``, for someone who only looks: nothing is made, mended, ended or remembered."""
    running = state.read(layout)
    ports = remembered_ports(layout)
    if running is not None and running.phase is Phase.READY:
        yield running.ports
    elif not state.held(layout) and processes.leftovers(layout.home, layout.data):
        yield ports
    else:
        with _own_to_look(layout, ports):
            yield ports


@contextmanager
def _own_to_look(layout: Layout, ports: Ports) -> Iterator[None]:
    with state.hold(layout), tempfile.NamedTemporaryFile() as log:
        postgres.check_data(layout)
        account = postgres.account_to_look(layout)
        # The services' files name this port: at another one they would look for a database in vain.
        if not ports.postgres or not is_free(ports.postgres):
            taken = f"{ports.postgres} is taken" if ports.postgres else "is not known any more"
            raise FailureError("postgres", f"its port {taken}", fix="have it take another: make up")
        state.write(layout, Phase.DATABASE, ports)
        with _server(layout, ports, account, Path(log.name)):
            yield


@contextmanager
def _server(layout: Layout, ports: Ports, account: postgres.Account, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        server = subprocess.Popen(
            postgres.command(layout, ports.postgres),
            env=postgres.environment(),
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(layout, ports, server, log)
            yield
        finally:
            processes.end_postmaster(layout.data)
            server.wait()


def _wait(layout: Layout, ports: Ports, server: subprocess.Popen[bytes], log: Path) -> None:
    postgres.wait_until_ready(layout, ports.postgres, lambda: server.poll() is None)
    if server.poll() is not None:
        raise postgres.failed(layout, "it did not start", log.read_text(errors="replace").splitlines())


def migrate(layout: Layout, ports: Ports, services: Iterable[str]) -> None:
    """Bring services of the local stack to their newest migration, side by side."""
    running = {
        name: subprocess.Popen(
            parts.command(name, "migrate"),
            env=parts.environment(layout, name, ports),
            stdin=subprocess.DEVNULL,
        )
        for name in services
    }
    codes = {name: process.wait() for name, process in running.items()}
    for name, code in codes.items():
        if code:
            raise FailureError(name, f"its migrations ended with exit code {code}", fix=f"{KPI} doctor")
        migrations.remember(layout, ports.postgres, name)


def migrate_where_needed(layout: Layout, ports: Ports) -> None:
    """Migrate those services whose database or migration files have changed since the last time."""
    services = [name for name in parts.SERVICES if not migrations.is_done(layout, ports.postgres, name)]
    migrate(layout, ports, services)
