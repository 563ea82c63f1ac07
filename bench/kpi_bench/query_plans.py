"""What PostgreSQL does for a request: EXPLAIN of the statement that the request caused, taken from the server's log.

The log has the statement that the service really sends, even after its code changes.
"""

import re
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from psycopg import sql

from kpi_bench.platform_stack import Database
from kpi_bench.processes import BenchError

_STATEMENT = re.compile(r"LOG:  (?:execute [^:]*|statement): (SELECT.*)", re.DOTALL)
_PARAMETERS = re.compile(r"DETAIL:  Parameters: (.*)")
_PARAMETER = re.compile(r"\$(\d+) = ('(?:[^']|'')*'|NULL)")


class QueryPlan(NamedTuple):
    """A plan as text, the number of 8 KiB pages that it accessed, and how long it took (ms)."""

    plan: str
    pages: int
    milliseconds: float


def explain(database: Database, name: str, url: str, log: Path) -> QueryPlan:
    """Send one request with all statements logged, and explain the last SELECT of that database."""
    began = log.stat().st_size
    _log_statements(database, "all")
    try:
        with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 the benchmark's own address
            response.read()
    finally:
        _log_statements(database, "none")
    with log.open("rb") as file:
        file.seek(began)
        statement = last_statement(file.read().decode(), name)
    return _explain_statement(database, name, statement)


def _log_statements(database: Database, which: str) -> None:
    with database.connect() as connection:
        connection.execute(sql.SQL("ALTER SYSTEM SET log_statement = {}").format(sql.Literal(which)))
        connection.execute("SELECT pg_reload_conf()")
    # Each backend reads the setting before its next statement, once the postmaster has notified it.
    time.sleep(0.2)


def last_statement(logged: str, name: str) -> str:
    """The statement with its parameters inserted as the log writes them."""
    ours = [part for part in re.split(r"^(?=\d{4}-\d\d-\d\d )", logged, flags=re.MULTILINE) if f"@{name} " in part]
    for number in reversed(range(len(ours))):
        if found := _STATEMENT.search(ours[number]):
            detail = _PARAMETERS.search(ours[number + 1]) if number + 1 < len(ours) else None
            return _insert_parameters(found[1], detail[1] if detail else "")
    raise BenchError(f"no statement of {name} is in the log: {logged[-500:]}")


def _insert_parameters(statement: str, detail: str) -> str:
    values = dict(_PARAMETER.findall(detail))
    return re.sub(r"\$(\d+)", lambda place: values[place[1]], statement)


def _explain_statement(database: Database, name: str, statement: str) -> QueryPlan:
    with database.connect(name) as connection:
        command = f"EXPLAIN (ANALYZE, BUFFERS) {statement}".encode()
        # The first run reads pages from the disk that a repeated request finds in memory.
        connection.execute(command)
        lines = [str(row[0]) for row in connection.execute(command)]
    buffers = re.search(r"Buffers: shared(.*)", "\n".join(lines))
    pages = sum(int(number) for number in re.findall(r"(?:hit|read)=(\d+)", buffers[1])) if buffers else 0
    took = re.search(r"Execution Time: ([\d.]+) ms", lines[-1])
    return QueryPlan("\n".join(lines), pages, float(took[1]) if took else 0.0)
