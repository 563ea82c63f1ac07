"""All rows, in the order of the table."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from kpi_drill.rows import database, grey, kills
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict


class Row(NamedTuple):
    """A fault, the bar that its figures have to reach, and what measures them."""

    name: str
    fault: str
    bar: str
    run: Callable[[Stage], Awaitable[Verdict]]


ROWS = (
    Row(
        "silence",
        "established database connections go silent, new ones work",
        "healthy within 5 s, no restart, <= 5 % failed in 30 s",
        database.silence_connections,
    ),
    Row(
        "database-silent",
        "database silent for 10 s (DROP, REJECT, SIGSTOP)",
        "503 with `Retry-After` within 2.5 s",
        database.be_silent,
    ),
    Row("lock", "a table locked for 10 s", "503 within 2.5 s, others' p99 at most twice", database.lock_table),
    Row(
        "lost-database",
        "one of two contents has lost its database",
        "out of rotation within 2 s, <= 1 % failed, back by itself",
        grey.lose_database,
    ),
    Row("frozen-auth", "one of two auths frozen for 25 s (SIGSTOP)", "0 sessions ended", grey.freeze_auth),
    Row("read-only", "database read-only", "503, and writes again by itself", database.be_read_only),
    Row("widened-column", "a column's type is widened", "0 failed", database.widen_column),
    Row("kills", "each process killed with `kill -9`", "0 acknowledged writes lost", kills.kill_parts),
    Row("database-kills", "PostgreSQL killed with `kill -9`", "0 acknowledged writes lost", kills.kill_database),
    Row("restarts", "rolling restarts", "0 failed", kills.restart_in_turn),
)
