"""The keys by which the gateway knows the subjects of tokens: followed while it runs, and reported to auth."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from kpi_shared.background import running
from kpi_shared.errors import ProblemError
from kpi_shared.key_ring import KeyRing
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.token_keys.following import following
from kpi_shared.token_keys.reports import HOLDERS_PATH, Holding, KeyReporter, KilledKeys
from kpi_shared.tokens import TokenCodec

from kpi_gateway.credentials.internal_port import InternalPort
from kpi_gateway.credentials.memory import ExchangeMemory
from kpi_gateway.limits.service import RateLimits
from kpi_gateway.settings import PART, GatewaySettings
from kpi_gateway.upstream.contract import UpstreamClient


def find_tokens(settings: GatewaySettings, limits: RateLimits | None) -> TokenCodec | None:
    """The keys of the limits. They are followed without limits too: a rotation waits for each part that has them."""
    if limits is not None:
        return limits.tokens
    return TokenCodec.of(settings) if settings.has_token_keys else None


@asynccontextmanager
async def following_keys(
    settings: GatewaySettings, codec: TokenCodec, metrics: Metrics, client: UpstreamClient, exchanged: ExchangeMemory
) -> AsyncIterator[None]:
    """Auth's response to each report has the keys that were killed: what was exchanged under one is exchanged anew."""
    codec.on_change.append(_EndGrants(codec, exchanged))
    async with following(codec, settings, metrics):
        if settings.auth_internal_url is None:
            yield
            return
        port = InternalPort(settings, client)

        async def send(holding: Holding) -> list[str]:
            status, body = await port.post(HOLDERS_PATH.encode(), holding._asdict())
            if status != HTTPStatus.OK:
                raise ProblemError
            return KilledKeys.model_validate_json(body).killed

        async with running(KeyReporter(codec, part=PART.name, send=send).run(), name="token keys"):
            yield


class _EndGrants:
    def __init__(self, codec: TokenCodec, exchanged: ExchangeMemory) -> None:
        self._killed = codec.ring.killed
        self._exchanged = exchanged

    def __call__(self, ring: KeyRing) -> None:
        if ring.killed != self._killed:
            self._killed = ring.killed
            self._exchanged.end_grants()
