"""The SQL of the chain of audit records and of its checkpoints."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from kpi_shared.database import MAX_ID, AnyRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.chain import GENESIS, Checkpoint, Link, Place, Record

# An arbitrary constant that identifies the lock between two replicas.
LOCK = 7_352_062
# The newest one is enough; the others say where the chain was and when.
_KEPT_HEADS = 1000
# Independent of the settings of the connection. No two times have one text: those before 1970, which are none of this
# service, show their era, since a year before Christ would read like one of ours, and infinity has no form.
_TIME = """coalesce(to_char({0} AT TIME ZONE 'UTC', CASE
    WHEN {0} < '1970-01-01 UTC' THEN 'YYYY-MM-DD"T"HH24:MI:SS.US"Z" BC' ELSE 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
END), CAST({0} AS text))"""
_RECORD = f"""
    id, {_TIME.format("at")}, event, actor_id, subject_id, key_id, address, user_agent, request_id,
    CAST(details AS text)
"""
_HEAD = """
    SELECT seq, hash FROM (
        (SELECT seq, hash FROM audit_events WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1)
        UNION ALL (SELECT seq, hash FROM audit_checkpoints WHERE kind = 'start' ORDER BY seq DESC LIMIT 1)
    ) AS ends ORDER BY seq DESC LIMIT 1
"""

_get_state = text(f"""
    SELECT head.seq, head.hash, {_TIME.format("now()")} AS now,
        (SELECT extract(epoch FROM now() - at) FROM audit_events WHERE seq IS NULL ORDER BY id LIMIT 1) AS waiting,
        extract(epoch FROM now() - signed.at) AS signed_ago, signed.seq AS signed_seq,
        (SELECT hash FROM audit_events WHERE seq = :known) AS known_hash,
        (SELECT max(seq) FROM audit_checkpoints WHERE kind = 'start') AS start_seq
    FROM (SELECT 1) AS one LEFT JOIN ({_HEAD}) AS head ON true LEFT JOIN (
        SELECT seq, at FROM audit_checkpoints WHERE kind = 'head' ORDER BY id DESC LIMIT 1
    ) AS signed ON true
""")  # noqa: S608 our own text
_try_lock = text("SELECT pg_try_advisory_xact_lock(:lock)")
_get_head = text(_HEAD)
# The first page has no lower bound: the owner of the database can write any number.
_WAITING = f"SELECT {_RECORD} FROM audit_events WHERE seq IS NULL {{}} ORDER BY id LIMIT :most"  # noqa: S608
_get_first_waiting = text(_WAITING.format(""))
_get_waiting = text(_WAITING.format("AND id > :after"))
_begin_snapshot = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
_PAGE = f"""
    SELECT seq, hash, {_RECORD} FROM audit_events WHERE seq IS NOT NULL {{}} ORDER BY seq, id LIMIT :most
"""  # noqa: S608 our own text
_get_first_page = text(_PAGE.format(""))
_get_page = text(_PAGE.format("AND (seq, id) > (:seq, :id)"))
_count = text("SELECT count(*) FROM audit_events")
# What stands between a query and the rows of a table.
_get_covers = text("""
    SELECT names.name, CASE
        WHEN class.oid IS NULL THEN 'does not exist'
        WHEN class.relkind <> 'r' THEN 'is not a plain table'
        WHEN class.relrowsecurity OR class.relforcerowsecurity THEN 'has row-level security'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = class.oid) THEN 'has policies'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = class.oid) THEN 'has rules'
    END AS cover
    FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS names (name, place)
    LEFT JOIN pg_catalog.pg_class AS class ON class.oid = pg_catalog.to_regclass(names.name)
    ORDER BY names.place
""")
_store = text("""
    UPDATE audit_events SET seq = links.seq, hash = links.hash
    FROM unnest(CAST(:ids AS bigint[]), CAST(:seqs AS bigint[]), CAST(:hashes AS bytea[])) AS links (id, seq, hash)
    WHERE audit_events.id = links.id
""")
# Only from the beginning on: a young record ends what is old.
_get_old = text(f"""
    WITH oldest AS (
        SELECT *, at < now() - :kept AS is_old FROM audit_events WHERE seq > :after ORDER BY seq LIMIT :most
    )
    SELECT seq, hash, {_RECORD} FROM oldest
    WHERE seq < coalesce((SELECT min(seq) FROM oldest WHERE NOT is_old), :above) ORDER BY seq
""")  # noqa: S608 our own text
_get_time = text(f"SELECT {_TIME.format('now()')}")
_delete_records = text("DELETE FROM audit_events WHERE seq <= :seq")
_delete_checkpoints = text("DELETE FROM audit_checkpoints WHERE seq < :seq OR (kind = 'head' AND seq = :seq)")
_add_checkpoint = text("""
    INSERT INTO audit_checkpoints (kind, at, seq, hash, signature)
    VALUES (:kind, CAST(:at AS timestamptz), :seq, :hash, :signature)
    RETURNING id
""")
# A checkpoint whose place is gone from the chain is what shows that, so it stays.
_forget_checkpoints = text("""
    DELETE FROM audit_checkpoints AS old WHERE kind = 'head' AND id <= :id - :kept
    AND EXISTS (SELECT FROM audit_events WHERE seq = old.seq AND hash = old.hash)
""")
_get_signed = text("""
    SELECT seq, hash FROM audit_checkpoints WHERE kind = 'head' AND seq = ANY(CAST(:seqs AS bigint[]))
""")
_get_checkpoints = text(
    f"SELECT kind, {_TIME.format('at')}, seq, hash, signature FROM audit_checkpoints ORDER BY seq, id"  # noqa: S608
)


class Row(NamedTuple):
    """A record as it is stored at a place."""

    seq: int
    hash: bytes
    record: Record


class State(NamedTuple):
    """What a step of the chainer needs to know. Times are seconds; None where there is nothing of the kind."""

    head: Place
    now: str
    # How long the record with the lowest id waits for its place.
    waiting: float | None
    # How old the newest checkpoint is, and its place.
    signed_ago: float | None
    signed_seq: int
    # The hash that is stored at the place that was asked for, and the place up to which records were deleted by age.
    known_hash: bytes | None
    start_seq: int


async def get_state(connection: AsyncConnection, *, known: int) -> State:
    row = (await connection.execute(_get_state, {"known": known})).one()
    return State(
        GENESIS if row.seq is None else Place(row.seq, row.hash),
        row.now,
        None if row.waiting is None else float(row.waiting),
        None if row.signed_ago is None else float(row.signed_ago),
        row.signed_seq or 0,
        row.known_hash,
        row.start_seq or 0,
    )


async def try_lock(connection: AsyncConnection) -> bool:
    """Become the only replica that works on the chain until the transaction ends; False if another one does.

    The statements behind this one see all that the former holder has committed.
    """
    return bool(await connection.scalar(_try_lock, {"lock": LOCK}))


async def get_head(connection: AsyncConnection) -> Place:
    row = (await connection.execute(_get_head)).one_or_none()
    return GENESIS if row is None else Place(row.seq, row.hash)


async def get_waiting(connection: AsyncConnection, *, most: int, after: int | None = None) -> list[Record]:
    """Get committed records without a place, in the order of their ids, which are higher than ``after``."""
    statement = _get_first_waiting if after is None else _get_waiting
    values = {"most": most} if after is None else {"most": most, "after": after}
    return [Record(*row) for row in await connection.execute(statement, values)]


async def begin_snapshot(connection: AsyncConnection) -> None:
    """Let all statements of the transaction, which has had none yet, see the same rows."""
    await connection.execute(_begin_snapshot)


async def get_page(connection: AsyncConnection, *, after: tuple[int, int] | None, most: int) -> list[Row]:
    """Get chained records behind a place and an id; in a chain that was not tampered with, no two have one place."""
    statement = _get_first_page if after is None else _get_page
    position = {} if after is None else {"seq": after[0], "id": after[1]}
    return _to_rows((await connection.execute(statement, {**position, "most": most})).all())


async def count(connection: AsyncConnection) -> int:
    """Count all records, with a place or without."""
    return int(await connection.scalar(_count) or 0)


async def find_cover(connection: AsyncConnection) -> str | None:
    """Say what may hide rows of the tables from queries, if anything does: a view, policies or rules."""
    rows = await connection.execute(_get_covers, {"names": ["audit_events", "audit_checkpoints"]})
    return next((f"the table {name} {cover}" for name, cover in rows if cover), None)


async def store(connection: AsyncConnection, links: Sequence[Link]) -> None:
    values = {
        "ids": [link.id for link in links],
        "seqs": [link.place.seq for link in links],
        "hashes": [link.place.hash for link in links],
    }
    await connection.execute(_store, values)


async def add_checkpoint(connection: AsyncConnection, checkpoint: Checkpoint) -> None:
    """Add a checkpoint, and delete old ones of a head."""
    values = {
        "kind": checkpoint.kind,
        "at": checkpoint.at,
        "seq": checkpoint.place.seq,
        "hash": checkpoint.place.hash,
        "signature": checkpoint.signature,
    }
    added = await connection.scalar(_add_checkpoint, values)
    await connection.execute(_forget_checkpoints, {"id": added, "kept": _KEPT_HEADS})


async def get_checkpoints(connection: AsyncConnection) -> list[Checkpoint]:
    rows = await connection.execute(_get_checkpoints)
    return [Checkpoint(kind, at, Place(seq, hash_), signature) for kind, at, seq, hash_, signature in rows]


async def get_signed(connection: AsyncConnection, *, seqs: Sequence[int]) -> set[Place]:
    """Get those of these places that checkpoints of a head have."""
    return {Place(seq, hash_) for seq, hash_ in await connection.execute(_get_signed, {"seqs": list(seqs)})}


async def get_old(connection: AsyncConnection, *, after: int, kept: timedelta, most: int) -> list[Row]:
    """Get the records behind a place that are older than ``kept``, up to the first that is not."""
    values = {"after": after, "kept": kept, "most": most, "above": MAX_ID}
    return _to_rows((await connection.execute(_get_old, values)).all())


async def get_time(connection: AsyncConnection) -> str:
    """Get the time of the transaction, as checkpoints have it."""
    return str(await connection.scalar(_get_time))


async def delete_through(connection: AsyncConnection, *, seq: int) -> None:
    """Delete the records up to a place that a checkpoint of a start has, and the checkpoints before it."""
    await connection.execute(_delete_records, {"seq": seq})
    await connection.execute(_delete_checkpoints, {"seq": seq})


def _to_rows(rows: Sequence[AnyRow]) -> list[Row]:
    return [Row(seq, hash_ or b"", Record(*record)) for seq, hash_, *record in rows]
