"""All rows, in the order of the table."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from kpi_drill.rows import (
    crowds,
    database,
    events,
    feed_cut,
    grey,
    keys_and_mails,
    kills,
    machine,
    nats,
    refresh_race,
    retries,
    revocation,
    rotation,
)
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict


class Row(NamedTuple):
    """A fault, the bar that its figures have to reach, and what measures them."""

    name: str
    fault: str
    bar: str
    run: Callable[[Stage], Coroutine[Any, Any, Verdict]]
    # A row that takes longer has failed.
    seconds: float = 180.0


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
    Row(
        "failover",
        "the primary is read-only, a standby takes its place",
        "healthy by itself, 0 lost, nothing is read from the old one",
        machine.fail_over,
    ),
    Row("widened-column", "a column's type is widened", "0 failed", database.widen_column),
    Row("kills", "each process killed with `kill -9`", "0 acknowledged writes lost", kills.kill_parts),
    Row("database-kills", "PostgreSQL killed with `kill -9`", "0 acknowledged writes lost", kills.kill_database),
    Row("restarts", "rolling restarts", "0 failed", kills.restart_in_turn),
    Row(
        "search",
        "8, then 40 clients with the most costly search that is legal",
        "p50 of others' GETs at most 2 times idle",
        crowds.search_at_high_cost,
    ),
    Row(
        "flood",
        "login flood of 40 clients behind one address, then of 40 addresses",
        ">= 80 % of honest sign-ins from elsewhere within 2 s, nothing else harmed",
        crowds.flood_sign_in,
    ),
    Row(
        "overload",
        "3 times the load that can be served",
        "goodput >= 80 % of the peak, refusals within 50 ms",
        crowds.overload,
    ),
    Row("retired-key", "a key is retired", "0 sessions ended", keys_and_mails.retire_key),
    Row(
        "mails",
        "6 kills of auth while 100 mails go out",
        "0 lost, <= 1 doubled per kill, settled within 30 s",
        keys_and_mails.kill_while_mails_go_out,
    ),
    Row(
        "nats",
        "NATS frozen, then gone for 2 minutes",
        "0 events lost, auth's p99 at most 1.25 times",
        nats.be_down,
        seconds=420.0,
    ),
    Row(
        "make-up",
        "a part dies under `make up`",
        "ready in 3 s; the fourth time in a minute the stack stops and says why",
        machine.kill_under_make_up,
    ),
    Row("full-disk", "the disk of the database is full", "0 acknowledged writes lost", machine.fill_disk),
    Row(
        "revocation",
        "tokens are revoked: log-out, demotion, deactivation, until the last content refuses",
        "p99 <= 1 s, max <= 5 s, 0 new tokens refused",
        revocation.revoke,
    ),
    Row(
        "revocation-kill",
        "the same, each auth killed once with `kill -9`",
        "p99 <= 1 s, max <= 5 s, 0 new tokens refused",
        revocation.kill_auth,
    ),
    Row(
        "revocation-frozen",
        "the same, each auth frozen once for 5 s (SIGSTOP)",
        "p99 <= 1 s, max <= 5 s, 0 new tokens refused",
        revocation.freeze_auth,
    ),
    Row(
        "feed-cut",
        "auth's feed is cut off from both contents for 14 s (DROP, REJECT)",
        "writes 503 with `Retry-After` after 10 s, 0 reads failed, 0 writes of a revoked token, back by itself",
        feed_cut.cut_feed,
    ),
    Row(
        "refresh-race",
        "64 parallel refreshes race a revocation, 1,000 times",
        "none minted after it returned, no token works after it",
        refresh_race.race,
        seconds=1800,
    ),
    Row(
        "events",
        "8 writers and 20,000 events, the auths killed at random",
        "no consumer misses an event, content's accounts equal auth's",
        events.write_while_auth_dies,
        seconds=1800,
    ),
    Row(
        "rotation",
        "`kpi keys rotate` every 10 s for 3 minutes, `v4.local`",
        "0 failed",
        rotation.rotate_local,
        seconds=420,
    ),
    Row(
        "rotation-public",
        "`kpi keys rotate` every 10 s for 3 minutes, `v4.public`",
        "0 failed",
        rotation.rotate_public,
        seconds=420,
    ),
    Row(
        "retries",
        "500 creating requests, their connections cut up to 3 times each, sent again with their `Idempotency-Key`",
        "exactly 500 rows, every client has its response",
        retries.send_again,
        seconds=420,
    ),
)
