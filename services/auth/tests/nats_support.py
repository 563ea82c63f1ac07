"""Reading what a NATS server has stored."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import nats
from kpi_shared.testing.nats_server import Broker
from nats.js import JetStreamContext

STREAM = "KPI_EVENTS"


@asynccontextmanager
async def client(broker: Broker) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect(broker.url)
    try:
        yield connection.jetstream()
    finally:
        await connection.close()


@dataclass(frozen=True)
class Received:
    place: int
    subject: str
    headers: dict[str, str]
    body: dict[str, object]

    @property
    def seq(self) -> int:
        assert isinstance(self.body["seq"], int)
        return self.body["seq"]


async def read_stream(stream: JetStreamContext, name: str = STREAM) -> list[Received]:
    """All messages of the stream, in their order."""
    last = (await stream.stream_info(name)).state.last_seq
    messages = [await stream.get_msg(name, seq) for seq in range(1, last + 1)]
    return [
        Received(each.seq or 0, each.subject or "", each.headers or {}, json.loads(each.data or b""))
        for each in messages
    ]
