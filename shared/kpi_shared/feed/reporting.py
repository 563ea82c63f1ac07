"""Reports to auth which keys of the tokens this process holds: a rotation waits for them."""

from collections.abc import AsyncIterator

from fastapi import FastAPI

from kpi_shared.background import running
from kpi_shared.feed.client import FeedClient
from kpi_shared.token_keys.reports import Holding, KeyReporter


async def token_keys(app: FastAPI) -> AsyncIterator[None]:
    client: FeedClient | None = app.state.feed_client
    if client is None:
        yield
        return

    async def send(holding: Holding) -> list[str]:
        return (await client.ask_any(lambda address: client.report_keys(address, holding))).killed

    reporter = KeyReporter(app.state.tokens, part=app.state.settings.part.name, send=send)
    async with running(reporter.run(), name="token keys"):
        yield
