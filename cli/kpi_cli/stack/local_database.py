"""Gives a command the local stack's database: the running one, or one that is started for this command."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.parts import WITH_DATABASE, Part
from kpi_cli.stack import databases, environments, migrations, postgres, preparation, processes, state
from kpi_cli.stack.ports import Ports, choose_without_gateway, is_free, recall
from kpi_cli.stack.state import BusyError, Phase


def report(sentence: str) -> None:
    """Print a message on standard error, so that it never mixes with a command's output."""
    print(f"kpi: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def use(layout: Layout) -> Iterator[Ports]:
    """The ports of a stack whose database accepts connections while the block runs."""
    running = state.read(layout)
    if running is not None and running.phase is Phase.READY:
        yield running.ports
        return
    try:
        with state.hold(layout), _start(layout) as ports:
            yield ports
    except BusyError as busy:
        raise FailureError("stack", busy.sentence, fix="try again when it is ready or stopped") from busy


@contextmanager
def _start(layout: Layout) -> Iterator[Ports]:
    preparation.prepare(layout, report)
    report("the stack is stopped: its database is started for this command only")
    ports = choose_without_gateway(layout)
    state.write(layout, Phase.DATABASE, ports)
    account = postgres.prepare_account(layout, report)
    postgres.initialise(layout, account)
    with _run_server(layout, ports, account, layout.logs / "postgres.log"):
        databases.prepare(layout, ports.postgres)
        yield ports


def known_ports(layout: Layout) -> Ports:
    """The running stack's ports, or else the last one's."""
    running = state.read(layout)
    return running.ports if running else Ports(recall(layout))


@contextmanager
def inspect(layout: Layout) -> Iterator[Ports]:
    """As ``use``, for a command that only reads: nothing is made, repaired, ended or remembered."""
    running = state.read(layout)
    ports = known_ports(layout)
    if running is not None and running.phase is Phase.READY:
        yield running.ports
    elif state.find_leftovers(layout):
        yield ports
    else:
        with _start_unchanged(layout, ports):
            yield ports


@contextmanager
def _start_unchanged(layout: Layout, ports: Ports) -> Iterator[None]:
    with state.hold(layout), tempfile.NamedTemporaryFile() as log:
        postgres.check_data(layout)
        account = postgres.existing_account(layout)
        # The services' files name this port, so they would find no database at another one.
        if not ports.postgres or not is_free(ports.postgres):
            problem = (
                f"its port {ports.postgres} is in use" if ports.postgres else "the port that it used last is not known"
            )
            raise FailureError("postgres", problem, fix="start the stack, which chooses another port: make up")
        state.write(layout, Phase.DATABASE, ports)
        with _run_server(layout, ports, account, Path(log.name)):
            yield


@contextmanager
def _run_server(layout: Layout, ports: Ports, account: postgres.SystemUser, log: Path) -> Iterator[None]:
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
            _wait_until_ready(layout, ports, server, log)
            yield
        finally:
            processes.end_postmaster(layout.data)
            server.wait()


def _wait_until_ready(layout: Layout, ports: Ports, server: subprocess.Popen[bytes], log: Path) -> None:
    postgres.wait_until_ready(layout, ports.postgres, lambda: server.poll() is None)
    if server.poll() is not None:
        lines = log.read_text(errors="replace").splitlines()
        # The doctor's log is a temporary file, which no message should name.
        kept = log if log.parent == layout.logs else None
        raise postgres.failure(layout, "it did not start", lines, kept)


def migrate(layout: Layout, ports: Ports, services: Iterable[Part]) -> None:
    """Bring the databases of these services to their newest migration, in parallel."""
    running = {
        service: subprocess.Popen(
            service.command("migrate"),
            env=environments.environment(layout, service, ports),
            stdin=subprocess.DEVNULL,
        )
        for service in services
    }
    codes = {service: process.wait() for service, process in running.items()}
    for service, code in codes.items():
        if code:
            raise FailureError(service.name, f"its migrations ended with exit code {code}", fix=f"{KPI} doctor")
        migrations.remember(layout, ports.postgres, service)


def migrate_where_needed(layout: Layout, ports: Ports) -> None:
    """Migrate the services whose database or migration files have changed since the last time."""
    services = [service for service in WITH_DATABASE if not migrations.is_current(layout, ports.postgres, service)]
    migrate(layout, ports, services)
