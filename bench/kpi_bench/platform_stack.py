"""The platform under test: a PostgreSQL server with the real posts, the parts, and fresh databases for each run.

The loaded databases are never written to: each run works on copies of them, which it drops at the end.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from kpi_cli import parts
from kpi_cli.layout import Layout
from kpi_cli.stack import environments, postgres, vault
from kpi_cli.stack.ports import HOST, Ports
from psycopg import sql

from kpi_bench.harness import report
from kpi_bench.options import REPOSITORY, Options
from kpi_bench.processes import SERVER_CORE, BenchError, Program, Server, free_port

# Kept between runs, so that the posts are loaded only once.
HOME = REPOSITORY / ".kpi" / "bench-stack"
POSTS = 20_100
# A measurement is made by one client without a token, whose limits would stop it.
UNLIMITED = {
    "RATE_LIMIT_ENABLED": "false",
    "RATE_LIMIT_REQUESTS": "1000000",
    "COSTLY_REQUESTS_PER_ADDRESS": "1000",
}
_START_SECONDS = 60.0


class Database:
    """The benchmark's own PostgreSQL server."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.layout = Layout(checkout=REPOSITORY, home=HOME)
        self.port = free_port()
        self.server: Server | None = None

    def load(self) -> None:
        """Load the sample posts with their authors and votes, unless they are loaded already."""
        command = [sys.executable, "-m", "kpi_cli", "load"]
        HOME.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "KPI_HOME": str(HOME)}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BenchError(f"kpi load: {result.stdout}{result.stderr}")

    def start(self, *, core: int | None = SERVER_CORE, settings: Mapping[str, str] | None = None) -> None:
        account = postgres.prepare_account(self.layout, print)
        command = postgres.command(self.layout, self.port)
        if account.uid is not None:
            # PostgreSQL refuses to run as root.
            command = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", *command]
        for name, value in (settings or {}).items():
            command += ["-c", f"{name}={value}"]
        self.server = server = Server(Program(command, postgres.environment(), core), self._options.log("postgres"))
        postgres.wait_until_ready(self.layout, self.port, lambda: server.alive)
        if not server.alive:
            raise BenchError(f"PostgreSQL did not start: see {self._options.log('postgres')}")

    def stop(self) -> None:
        if self.server is not None:
            # PostgreSQL's fast shutdown. Only the postmaster gets the signal; it stops its children.
            os.kill(self.server.pid, signal.SIGINT)
            self.server.wait(_START_SECONDS)
            self.server = None

    @property
    def running_server(self) -> Server:
        if self.server is None:
            raise BenchError("PostgreSQL is not running")
        return self.server

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A superuser's connection in autocommit mode."""
        return postgres.connect(self.layout, self.port, database)

    def url(self, service: str, database: str) -> str:
        password = vault.read(self.layout.secrets / f"{service}_database_password")
        return f"postgresql://kpi_{service}:{password}@{HOST}:{self.port}/{database}"

    def copy(self, template: str, database: str, *, owner: str) -> None:
        """Create a database as a copy of another one, replacing any with the same name."""
        names = {"name": sql.Identifier(database), "of": sql.Identifier(template), "owner": sql.Identifier(owner)}
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {name} WITH (FORCE)").format(**names))
            connection.execute(
                sql.SQL("CREATE DATABASE {name} TEMPLATE {of} OWNER {owner} STRATEGY file_copy").format(**names)
            )

    def drop(self, *databases: str) -> None:
        with self.connect() as connection:
            for name in databases:
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(name)))

    def wait_until_idle(self) -> None:
        """Wait for statements whose client has disconnected, or the next measurement would include them."""
        deadline = time.monotonic() + _START_SECONDS
        busy = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
        with self.connect() as connection:
            while connection.execute(busy).fetchone() != (0,) and time.monotonic() < deadline:
                time.sleep(0.05)


@contextmanager
def open_loaded_database(options: Options) -> Iterator[Database]:
    """Yield a PostgreSQL server with the sample posts, not started yet; stop it at the end."""
    database = Database(options)
    report("loading the sample posts, unless they are loaded already")
    database.load()
    try:
        yield database
    finally:
        database.stop()


class Stack:
    """The three parts, all on the servers' core, with copies of the loaded databases."""

    AUTH, CONTENT = "bench_auth", "bench_content"

    def __init__(self, database: Database, options: Options, *, gateway: Mapping[str, str] | None = None) -> None:
        self.database = database
        self._options = options
        self._gateway_settings = {**UNLIMITED, **(gateway or {})}
        own = {part.name: free_port() for part in parts.PARTS}
        self.ports = Ports({**own, "auth_internal": free_port(), "postgres": database.port})
        self.servers: dict[str, Server] = {}

    def url(self, part: str) -> str:
        return f"http://{HOST}:{self.ports.of(parts.get_or_raise(part))}"

    def start(self) -> None:
        self.database.copy("kpi_auth", self.AUTH, owner="kpi_auth")
        self.database.copy("kpi_content", self.CONTENT, owner="kpi_content")
        for part in parts.PARTS:
            self.start_part(part.name)
        for part in parts.PARTS:
            self.wait_for(part.name)

    def start_part(self, part: str) -> None:
        port = self.ports.of(parts.get_or_raise(part))
        program = self.program(part, port, database=f"bench_{part}")
        if part == "gateway":
            program = replace(program, environment={**program.environment, **self._gateway_settings})
        self.servers[part] = Server(program, self._options.log(part))

    def program(self, part: str, port: int, *, database: str) -> Program:
        own = environments.own_settings(self.database.layout, parts.get_or_raise(part), self.ports)
        if own.pop("DATABASE_URL_FILE", ""):
            own["DATABASE_URL"] = own["LISTEN_DATABASE_URL"] = self.database.url(part, database)
        own.pop("LISTEN_DATABASE_URL_FILE", None)
        # A developer's settings in a part's own config folder must not affect the measurement.
        general = {"CONFIG_DIR": str(self._options.work), "LOG_FORMAT": "json", "AWS_SECRETS_ENABLED": "false"}
        # Metrics are collected as in production; a free port allows several services of one kind.
        own["METRICS_PORT"] = str(free_port())
        return Program(parts.get_or_raise(part).command("--host", HOST, "--port", str(port)), {**general, **own})

    def wait_for(self, part: str) -> None:
        self.servers[part].wait_until_ready(f"{self.url(part)}/health/ready")

    def stop(self) -> None:
        for part in (each.name for each in reversed(parts.PARTS)):
            if part in self.servers:
                self.servers.pop(part).stop()


@contextmanager
def run_stack(options: Options, *, gateway: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Run the whole platform with the sample posts; drop its databases at the end."""
    with open_loaded_database(options) as database:
        database.start()
        stack = Stack(database, options, gateway=gateway)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
            database.drop(Stack.AUTH, Stack.CONTENT)


def request_json(url: str, body: Mapping[str, object] | None = None, *, form: bytes | None = None) -> dict[str, Any]:
    """The JSON response to a GET or, with a body (JSON) or a form, to a POST."""
    data = json.dumps(body).encode() if body is not None else form
    kind = "application/json" if form is None else "application/x-www-form-urlencoded"
    request = urllib.request.Request(url, data, {"Content-Type": kind} if data else {})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 the benchmark's own address
        found: dict[str, Any] = json.load(response)
        return found


def authorized_json(url: str, token: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
    """As ``request_json``, with an access token."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 the benchmark's own address
        found: dict[str, Any] = json.load(response)
        return found


class Accounts:
    """Accounts on one server, created by the benchmark, all with the same password."""

    PREFIX, PASSWORD = "bench-", "a-made-up-passphrase-of-the-benchmark"

    def __init__(self, url: str, count: int) -> None:
        self._url = url
        self.names = [f"{self.PREFIX}{number}" for number in range(1, count + 1)]
        self.ids = [self._register(name) for name in self.names]

    def _register(self, name: str) -> int:
        body = {"username": name, "email": f"{name}@example.com", "password": self.PASSWORD}
        return int(request_json(f"{self._url}/users", body)["id"])

    def sign_in(self, count: int) -> list[dict[str, Any]]:
        """New tokens of the first ``count`` accounts."""
        forms = [f"username={name}&password={self.PASSWORD}".encode() for name in self.names[:count]]
        return [request_json(f"{self._url}/auth/login", form=form) for form in forms]

    def access_tokens(self, count: int) -> Sequence[str]:
        return [str(tokens["access_token"]) for tokens in self.sign_in(count)]

    def refresh_tokens(self, count: int) -> Sequence[str]:
        return [str(tokens["refresh_token"]) for tokens in self.sign_in(count)]
