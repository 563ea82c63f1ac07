"""The chainer: gives committed audit records their places in the chain, in every replica, one replica at a time.

A record has no place when it is written: transactions commit in another order than they begin, and waiting for each
other would stall them all. Here records get their places after the commit, in a transaction of its own. No request
waits for a place, so a poll is enough, and it chains more records at once than a wake-up by each of them would.
"""

from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

import structlog
from fastapi import FastAPI
from kpi_shared.background import Schedule, repeat, running
from kpi_shared.database import Database
from kpi_shared.telemetry.metrics import Metrics

from kpi_auth.audit import chain_repository as repository
from kpi_auth.audit.chain import GENESIS, ChainKeys, Place
from kpi_auth.audit.chain_repository import State
from kpi_auth.audit.models import CheckpointKind

log = structlog.get_logger("kpi_auth.audit")

_LONGEST_BACKOFF = 30.0
# One batch takes the event loop about 4 ms.
BATCH = 500
_MOST_LOST = 100


class ChainTimes(NamedTuple):
    """Times in seconds: between two looks for records, and between two checkpoints of a chain that grows."""

    poll: float = 1.0
    checkpoint: float = 60.0


class Chainer:
    def __init__(self, database: Database, keys: ChainKeys, times: ChainTimes | None = None) -> None:
        self._database = database
        self._keys = keys
        self._times = times or ChainTimes()
        # The newest place that this process has seen: the database cannot take it back unnoticed.
        self._known = GENESIS
        # Such places that were gone later. Each stays signed, so that deleting its checkpoint hides nothing.
        self._lost: deque[Place] = deque(maxlen=_MOST_LOST)
        self._chained = 0
        self._breaks = 0
        self._waiting = 0.0

    def register_metrics(self, metrics: Metrics) -> None:
        lag = "Seconds for which the oldest audit record without a place in the chain waited, at the last measurement"
        metrics.add_gauge("kpi_auth_audit_chain_lag_seconds", lag, (), lambda: {(): self._waiting})
        place = "The newest place of the chain of audit records, at the last measurement"
        metrics.add_gauge("kpi_auth_audit_chain_place", place, (), lambda: {(): self._known.seq})
        chained = "Audit records that this process has chained"
        metrics.add_counter("kpi_auth_audit_chained", chained, (), lambda: {(): self._chained})
        breaks = "How often this process found that records which it had seen in the chain are missing"
        metrics.add_counter("kpi_auth_audit_chain_breaks", breaks, (), lambda: {(): self._breaks})

    async def run(self) -> None:
        poll = self._times.poll
        schedule = Schedule(interval=poll, first_backoff=2 * poll, longest_backoff=_LONGEST_BACKOFF)
        await repeat(self.step, schedule, failure="audit chain unreachable")

    async def step(self) -> bool:
        """Chain one batch, and sign a checkpoint if one is due; True if more records wait."""
        async with self._database.reading() as connection:
            state = await repository.get_state(connection, known=self._known.seq)
        self._waiting = max(state.waiting or 0.0, 0.0)
        if self._is_cut(state):
            self._report_cut(state)
        self._known = state.head
        await self._sign_lost(state)
        if self._is_checkpoint_due(state):
            await self._sign_head()
        return state.waiting is not None and await self._chain()

    def _is_cut(self, state: State) -> bool:
        """Is the place that this process knows no longer in the chain, and not deleted by age?"""
        return self._known.seq > state.start_seq and self._known.hash != state.known_hash

    def _report_cut(self, state: State) -> None:
        self._breaks += 1
        lost = self._known
        self._lost.append(lost)
        log.error("audit records are missing from the chain", seq=lost.seq, hash=lost.hash.hex(), head=state.head.seq)

    async def _sign_lost(self, state: State) -> None:
        """Put lost places among the checkpoints whenever they are not there: ``kpi audit verify`` finds them."""
        lost = [place for place in self._lost if place.seq > state.start_seq]
        if not lost:
            return
        async with self._database.working() as connection:
            signed = await repository.get_signed(connection, seqs=[place.seq for place in lost])
            for place in lost:
                if place not in signed:
                    checkpoint = self._keys.sign(CheckpointKind.HEAD, place, at=state.now)
                    await repository.add_checkpoint(connection, checkpoint)

    def _is_checkpoint_due(self, state: State) -> bool:
        is_old = state.signed_ago is None or state.signed_ago >= self._times.checkpoint
        return is_old and state.head.seq > state.start_seq and state.head.seq != state.signed_seq

    async def _sign_head(self) -> None:
        async with self._database.working() as connection:
            if not await repository.try_lock(connection):
                return
            state = await repository.get_state(connection, known=0)
            if not self._is_checkpoint_due(state):
                # Another replica has signed in the meantime.
                return
            checkpoint = self._keys.sign(CheckpointKind.HEAD, state.head, at=state.now)
            await repository.add_checkpoint(connection, checkpoint)
        # So that the log, outside the database, shows how far the chain had come.
        log.info("audit checkpoint", seq=state.head.seq, hash=state.head.hash.hex())

    async def _chain(self) -> bool:
        async with self._database.working() as connection:
            if not await repository.try_lock(connection):
                return False
            head = await repository.get_head(connection)
            records = await repository.get_waiting(connection, most=BATCH)
            links = self._keys.chain(records, after=head)
            await repository.store(connection, links)
        self._chained += len(links)
        return len(links) == BATCH


async def audit_chainer(app: FastAPI) -> AsyncIterator[None]:
    chainer = Chainer(app.state.database, ChainKeys(app.state.settings))
    chainer.register_metrics(app.state.metrics)
    async with running(chainer.run(), name="audit chainer"):
        yield
