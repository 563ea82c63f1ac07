"""Walk the chain of audit records and find the first that was changed, removed or put in between (docs/audit.md).

The walk reads one snapshot page by page. A record is wrong if its hash is not the one that the key makes of it and of
the record before it. What stands behind the first wrong record is read only to say what happened there.
"""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from kpi_shared.database import Database
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit import chain_repository as repository
from kpi_auth.audit.chain import GENESIS, ChainKeys, Checkpoint, Judgement, Place, Record, find_start, parse_time
from kpi_auth.audit.chain_repository import Row
from kpi_auth.audit.models import CheckpointKind

PAGE = 2000
# How many records behind a wrong one are read, and by how many places they may have been moved.
_AHEAD = 100
_MOST_MOVED = 1000


class Wrong(StrEnum):
    """What happened to a record. Values are public: ``kpi audit verify --json`` prints them."""

    CHANGED = "changed"
    REMOVED = "removed"
    PUT_IN = "put-in"
    CHECKPOINT = "checkpoint"
    HIDDEN = "hidden"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_VERSION = "unknown-version"


@dataclass(frozen=True)
class Problem:
    """The first wrong place. ``id`` is the record's; if it was removed, that of the record behind it."""

    wrong: Wrong
    seq: int | None
    id: int | None
    detail: str


@dataclass
class Report:
    """``records`` are those verified before the problem; ``waiting`` have no place in the chain yet."""

    start: Place = GENESIS
    head: Place = GENESIS
    records: int = 0
    waiting: int = 0
    checkpoints: int = 0
    problem: Problem | None = None


@dataclass
class Order:
    """Whether a record can have been written where it stands, behind those before it.

    Records are chained a second after their commit, so in the chain ids and times run backwards only by as much as a
    transaction lasts. A record that was put in under an old id or with an old time stands behind much younger ones.
    """

    tolerance: timedelta
    _newest: datetime | None = None
    # The records not older than the tolerance, and the highest id of those that are.
    _recent: deque[tuple[datetime, int]] = field(default_factory=deque)
    _passed_id: int = 0

    def accepts(self, record: Record) -> bool:
        at = parse_time(record.at)
        if at is None:
            return False
        if self._newest is not None and at < self._newest - self.tolerance:
            return False
        while self._recent and self._recent[0][0] < at - self.tolerance:
            self._passed_id = max(self._passed_id, self._recent.popleft()[1])
        if record.id <= self._passed_id:
            return False
        self._recent.append((at, record.id))
        self._newest = at if self._newest is None else max(self._newest, at)
        return True


async def verify(database: Database, keys: ChainKeys, *, tolerance: timedelta, expected: Place | None = None) -> Report:
    """``expected`` is a place that the caller knows, from a log for example."""
    async with database.writing() as connection:
        await repository.begin_snapshot(connection)
        return await _Walk(connection, keys, Order(tolerance)).run(expected)


class _Walk:
    def __init__(self, connection: AsyncConnection, keys: ChainKeys, order: Order) -> None:
        self._connection = connection
        self._keys = keys
        self._order = order
        self._report = Report()
        # Places by number, as checkpoints have them; the numbers that the walk has not reached.
        self._signed: dict[int, bytes] = {}

    async def run(self, expected: Place | None) -> Report:
        self._report.problem = await self._find_problem(expected)
        return self._report

    async def _find_problem(self, expected: Place | None) -> Problem | None:
        if cover := await repository.find_cover(self._connection):
            return Problem(Wrong.HIDDEN, None, None, f"{cover}, so records may be hidden")
        checkpoints = await repository.get_checkpoints(self._connection)
        return (
            self._read_checkpoints(checkpoints, expected)
            or await self._walk()
            or self._find_cut()
            or await self._check_waiting()
            or await self._check_number()
        )

    def _read_checkpoints(self, checkpoints: Sequence[Checkpoint], expected: Place | None) -> Problem | None:
        self._report.checkpoints = len(checkpoints)
        for each in checkpoints:
            judgement = self._keys.judge_checkpoint(each)
            if judgement != "good":
                sentence = f"the checkpoint at place {each.place.seq} {_SIGNATURE[judgement]}"
                return Problem(Wrong.CHECKPOINT, each.place.seq, None, sentence)
        self._report.start = self._report.head = find_start(checkpoints)
        places = [each.place for each in checkpoints if each.kind == CheckpointKind.HEAD]
        for place in [*places, *filter(None, [expected])]:
            if self._signed.setdefault(place.seq, place.hash) != place.hash:
                return self._replaced(place.seq)
        return None

    async def _walk(self) -> Problem | None:
        async for row in _pages(self._connection):
            if problem := await self._judge(row):
                return problem
            self._report.records += 1
            self._report.head = Place(row.seq, row.hash)
        return None

    async def _judge(self, row: Row) -> Problem | None:
        before = self._report.head
        if row.seq > before.seq + 1:
            return _removed(before.seq + 1, row.seq - before.seq - 1, row)
        if row.seq <= before.seq:
            return _put_in(row, f"place {row.seq} is not behind place {before.seq}")
        judgement = self._keys.judge(row.record, Place(row.seq, row.hash), after=before.hash)
        if judgement != "good":
            return await self._explain(row, judgement)
        if self._signed.get(row.seq, row.hash) != row.hash:
            return self._replaced(row.seq)
        if not self._order.accepts(row.record):
            return _put_in(row, "it is older than the records before it in the chain")
        return None

    async def _explain(self, row: Row, judgement: Judgement) -> Problem:
        """Say what happened at a record whose hash is wrong: the records behind it show it."""
        if judgement != "bad":
            wrong = Wrong(judgement)
            return Problem(wrong, row.seq, row.record.id, f"the record {row.record.id} {_SIGNATURE[judgement]}")
        before = self._report.head
        following = await repository.get_page(self._connection, after=(row.seq, row.record.id), most=_AHEAD)
        for other in following:
            if self._is_good(other, row.seq, after=before.hash):
                return _put_in(row, f"the record {other.record.id} belongs to its place")
        for moved in range(1, _MOST_MOVED) if following else ():
            if self._is_good(following[0], following[0].seq + moved, after=row.hash):
                return _removed(row.seq, moved, row)
        return Problem(Wrong.CHANGED, row.seq, row.record.id, f"the record {row.record.id} was changed")

    def _is_good(self, row: Row, seq: int, *, after: bytes) -> bool:
        return self._keys.judge(row.record, Place(seq, row.hash), after=after) == "good"

    def _replaced(self, seq: int) -> Problem:
        """The chain is whole, and yet another one than a checkpoint has signed: it was cut and has grown again."""
        good = max((each for each in self._signed if each < seq), default=self._report.start.seq)
        detail = f"records between place {good + 1} and place {seq} were removed, and others have their places"
        return Problem(Wrong.REMOVED, good + 1, None, detail)

    def _find_cut(self) -> Problem | None:
        """Were records removed at the end?"""
        head, signed = self._report.head.seq, max(self._signed, default=0)
        if signed <= head:
            return None
        detail = f"the records from place {head + 1} to place {signed} were removed at the end"
        return Problem(Wrong.REMOVED, head + 1, None, detail)

    async def _check_waiting(self) -> Problem | None:
        after: int | None = None
        while records := await repository.get_waiting(self._connection, most=PAGE, after=after):
            for record in records:
                self._report.waiting += 1
                if not self._order.accepts(record):
                    detail = f"the record {record.id}, which waits for its place, is older than records in the chain"
                    return Problem(Wrong.PUT_IN, None, record.id, detail)
            after = records[-1].id
        return None

    async def _check_number(self) -> Problem | None:
        """Pages skip records that have place and id of another one, which can be without the indexes."""
        more = await repository.count(self._connection) - self._report.records - self._report.waiting
        if not more:
            return None
        return Problem(Wrong.PUT_IN, None, None, f"{more} records were put in with place and id of others")


async def _pages(connection: AsyncConnection) -> AsyncIterator[Row]:
    after: tuple[int, int] | None = None
    while rows := await repository.get_page(connection, after=after, most=PAGE):
        for row in rows:
            yield row
        after = (rows[-1].seq, rows[-1].record.id)


_SIGNATURE: dict[Judgement, str] = {
    "bad": "was changed",
    "unknown-key": "was made with a key that is not configured: add the key to AUTH_PREVIOUS_SECRET_KEYS",
    "unknown-version": "was made by a newer version of this program",
}


def _removed(seq: int, number: int, row: Row) -> Problem:
    what = f"the record at place {seq} was" if number == 1 else f"the {number} records from place {seq} were"
    return Problem(Wrong.REMOVED, seq, row.record.id, f"{what} removed, before the record {row.record.id}")


def _put_in(row: Row, why: str) -> Problem:
    return Problem(Wrong.PUT_IN, row.seq, row.record.id, f"the record {row.record.id} was put in between: {why}")
