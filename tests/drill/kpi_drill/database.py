"""The drill's own PostgreSQL server, with a fresh copy of both migrated databases for each row."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg
from kpi_cli import keys
from kpi_cli.layout import Layout
from kpi_cli.stack import databases, postgres, vault
from kpi_cli.stack.ports import HOST
from kpi_shared.testing.process import free_port, run_command
from psycopg import sql

REPOSITORY = Path(__file__).resolve().parents[3]
SERVICES = ("auth", "content")
_PATIENCE_SECONDS = 30.0


class Server:
    """A PostgreSQL server that survives crashes as a real one does: with fsync."""

    def __init__(self, home: Path, *settings: str) -> None:
        self.layout = Layout(checkout=REPOSITORY, home=home)
        self.port = free_port()
        self._account = postgres.SystemUser()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Initialise the data, start, and migrate the databases that those of the rows are copies of."""
        self._prepare_folders()
        vault.ensure(self.layout.secrets)
        self._account = postgres.prepare_account(self.layout, lambda _: None)
        postgres.initialise(self.layout, self._account)
        self.start()
        databases.prepare(self.layout, self.port)
        for service in SERVICES:
            settings = {"DATABASE_URL": self.url(service, f"kpi_{service}"), "PASETO_SECRET_KEY": self.secret_key}
            run_command(f"kpi_{service}", "migrate", settings=settings)

    def create_standby_of(self, primary: "Server") -> None:
        """Copy the primary's data, and follow it from then on."""
        self._prepare_folders()
        shutil.copytree(primary.layout.secrets, self.layout.secrets)
        self._account = postgres.prepare_account(self.layout, lambda _: None)
        address = f"host={HOST} port={primary.port} user={postgres.SUPERUSER}"
        password = vault.read(self.layout.secrets / "postgres_password")
        options = ("--write-recovery-conf", "--checkpoint=fast", f"--pgdata={self.layout.data}", f"--dbname={address}")
        self.layout.data.mkdir(mode=0o700)
        if self._account.uid is not None and self._account.gid is not None:
            os.chown(self.layout.data, self._account.uid, self._account.gid)
        subprocess.run(
            [str(postgres.programs() / "pg_basebackup"), *options],
            env={**postgres.environment(), "PGPASSWORD": password},
            user=self._account.uid,
            group=self._account.gid,
            extra_groups=self._account.groups,
            cwd=self.layout.home,
            capture_output=True,
            check=True,
        )
        self.start()

    def _prepare_folders(self) -> None:
        for folder in (self.layout.home, self.layout.logs):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)

    @cached_property
    def secret_key(self) -> str:
        """The tokens' key, as a setting: a row that replaces it starts the parts with others."""
        return keys.generate()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def secret(self, name: str) -> str:
        return vault.read(self.layout.secrets / name)

    def start(self) -> None:
        options = [part for setting in self._settings for part in ("-c", setting)]
        path = self.layout.logs / "postgres.log"
        with path.open("ab") as log:
            self._process = subprocess.Popen(
                [*postgres.command(self.layout, self.port), *options],
                env=postgres.environment(),
                stdout=log,
                stderr=log,
                user=self._account.uid,
                group=self._account.gid,
                extra_groups=self._account.groups,
            )
        process = self._process
        postgres.wait_until_ready(self.layout, self.port, lambda: process.poll() is None)
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL does not start; its log ends:\n{path.read_text()[-2000:]}")

    def stop(self) -> None:
        """PostgreSQL's fast shutdown, or SIGKILL if it does not end in time."""
        if self._process is None or not self.is_running:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL for the postmaster and all its processes at once, as if the machine had failed."""
        # A postmaster that goes on would start further processes after they have been listed.
        _signal(self._processes()[:1], signal.SIGSTOP)
        processes = self._processes()
        _signal(processes, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=_PATIENCE_SECONDS)
        if self._process is not None:
            self._process.wait(_PATIENCE_SECONDS)

    def pin(self, cores: Collection[int]) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.cpu_affinity(list(cores))

    def freeze(self) -> None:
        _signal(self._processes(), signal.SIGSTOP)

    def thaw(self) -> None:
        _signal(self._processes(), signal.SIGCONT)

    def _processes(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A superuser's connection in autocommit mode."""
        return postgres.connect(self.layout, self.port, database)

    def url(self, service: str, database: str, *ports: int) -> str:
        """The address of a database, with several hosts if there are several ports."""
        password = self.secret(f"{service}_database_password")
        hosts = ",".join(f"{HOST}:{port}" for port in ports or (self.port,))
        return f"postgresql://kpi_{service}:{password}@{hosts}/{database}"

    def copy(self, service: str) -> str:
        """Create the row's database of a service as a copy of the migrated one, and return its name."""
        name = f"drill_{service}"
        names = {"name": sql.Identifier(name), "of": sql.Identifier(f"kpi_{service}")}
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {name} WITH (FORCE)").format(**names))
            connection.execute(
                sql.SQL("CREATE DATABASE {name} TEMPLATE {of} OWNER {of} STRATEGY file_copy").format(**names)
            )
        return name

    def query(self, database: str, statement: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error, ProcessLookupError):
            os.kill(process.pid, number)


async def wait_for(seconds: float, since: float) -> None:
    """Sleep until ``seconds`` after a moment of time.monotonic()."""
    await asyncio.sleep(max(0.0, since + seconds - time.monotonic()))
