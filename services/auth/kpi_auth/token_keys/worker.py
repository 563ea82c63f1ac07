"""The keys of this process: what it reports of them, and how it learns which ones have been killed."""

from collections.abc import AsyncIterator

import structlog
from fastapi import FastAPI
from kpi_shared.background import running
from kpi_shared.database import Database
from kpi_shared.health import Remark
from kpi_shared.key_ring import KeyRing
from kpi_shared.token_keys.reports import Holding, KeyReporter
from kpi_shared.tokens import TokenCodec

from kpi_auth.events.models import EventType, PlacedEvent
from kpi_auth.settings import PART
from kpi_auth.settings.lifetimes import Lifetimes
from kpi_auth.token_keys import service

log = structlog.get_logger(__name__)


async def token_keys(app: FastAPI) -> AsyncIterator[None]:
    """A killed key is dropped with its event; the reports find the keys that were killed before the start."""
    codec: TokenCodec = app.state.tokens
    database: Database = app.state.database
    token_seconds = int(Lifetimes.of(app.state.settings).access.total_seconds())
    codec.on_change.append(_report_missing_key)
    app.state.feed.on_event.append(lambda event: _apply(codec, event))

    async def send(holding: Holding) -> list[str]:
        async with database.working(seconds=2.0) as connection:
            return await service.report(connection, holding=holding, token_seconds=token_seconds)

    reporter = KeyReporter(codec, part=PART.name, send=send)
    await reporter.step()
    async with running(reporter.run(), name="token keys"):
        yield


async def check_minting(app: FastAPI) -> Remark | None:
    """Without an active key all is served but new tokens, so that it is named only."""
    codec: TokenCodec = app.state.tokens
    return None if codec.ring.active is not None else Remark("no key is active: no token can be issued")


def _apply(codec: TokenCodec, event: PlacedEvent) -> None:
    if event.type is EventType.KEY_KILLED:
        log.warning("key of tokens killed", kid=event.data["kid"])
        codec.kill(event.data["kid"])


def _report_missing_key(ring: KeyRing) -> None:
    if ring.active is None:
        log.error("no key of tokens is active: no token can be issued until the key ring has an active key")
