"""Delete audit records by age, and sign where the chain begins from then on."""

from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit import chain_repository as repository
from kpi_auth.audit.chain import ChainKeys, Place, find_start
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
    start = find_start(await repository.get_checkpoints(connection))
    rows = await repository.get_old(connection, after=start.seq, kept=kept, most=most)
    end = _verify(keys, start, rows)
    if end.seq > start.seq:
        checkpoint = keys.sign(CheckpointKind.START, end, at=await repository.get_time(connection))
        await repository.add_checkpoint(connection, checkpoint)
        await repository.delete_through(connection, seq=end.seq)
        log.info("audit records deleted by age", seq=end.seq, hash=end.hash.hex())
    return end.seq - start.seq


def _verify(keys: ChainKeys, start: Place, rows: list[Row]) -> Place:
    """The place of the last record up to which the chain is whole."""
    end = start
    for row in rows:
        place = Place(row.seq, row.hash)
        if row.seq != end.seq + 1 or keys.judge(row.record, place, after=end.hash) != "good":
            log.error("audit records are not deleted: the chain is broken", seq=end.seq + 1, id=row.record.id)
            break
        end = place
    return end
