"""Delete audit records by age, and sign where the chain begins from then on."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit import chain_repository as repository
from kpi_auth.audit.chain import ChainKeys, Checkpoint, Place, find_start, parse_time
from kpi_auth.audit.chain_repository import Row
from kpi_auth.audit.models import CheckpointKind

log = structlog.get_logger("kpi_auth.audit")


async def forget_old(connection: AsyncConnection, *, most: int, keys: ChainKeys, kept: timedelta) -> int:
    """Delete the oldest records of the chain, at most ``most``, up to the first that is not older than ``kept``.

    A record whose hash is wrong is not deleted, nor are those behind it: what was tampered with would be gone with the
    signature of this service.
    """
    if not await repository.try_lock(connection):
        return 0
    checkpoints = await repository.get_checkpoints(connection)
    start = find_start(checkpoints)
    rows = await repository.get_old(connection, after=start.seq, kept=kept, most=most)
    now = await repository.get_time(connection)
    end = _verify(keys, checkpoints, rows, is_old=lambda at: datetime.fromisoformat(now) - at > kept)
    if end.seq > start.seq:
        checkpoint = keys.sign(CheckpointKind.START, end, at=now)
        await repository.add_checkpoint(connection, checkpoint)
        await repository.delete_through(connection, seq=end.seq)
        log.info("audit records deleted by age", seq=end.seq, hash=end.hash.hex())
    return end.seq - start.seq


def _verify(
    keys: ChainKeys, checkpoints: Sequence[Checkpoint], rows: list[Row], *, is_old: Callable[[datetime], bool]
) -> Place:
    """The place of the last record up to which the chain is whole, is that of the checkpoints, and is old."""
    end = find_start(checkpoints)
    signed = {each.place.seq: each.place.hash for each in checkpoints}
    for row in rows:
        place = Place(row.seq, row.hash)
        is_whole = row.seq == end.seq + 1 and signed.get(row.seq, row.hash) == row.hash
        judgement = keys.judge(row.record, place, after=end.hash) if is_whole else "bad"
        # The age is that of the text that the hash covers.
        at = parse_time(row.record.at)
        if judgement != "good" or at is None or not is_old(at):
            log.error(
                "audit records are not deleted: the chain is broken",
                seq=end.seq + 1,
                id=row.record.id,
                judgement=judgement,
            )
            break
        end = place
    return end
