"""Requests with an API key: each gets a token of seconds in its place, or is refused.

The exchange comes before the rate limits, so that they count the key; what an exchange costs is limited by address.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from kpi_shared.api_key_form import parse_key_text
from kpi_shared.background import Schedule, repeat, running
from kpi_shared.errors import ProblemError

from kpi_gateway.credentials.errors import (
    ExchangeUnavailableError,
    InvalidKeyError,
    KeysNotAcceptedError,
    NetworkRefusedError,
)
from kpi_gateway.credentials.exchange import Exchanges
from kpi_gateway.credentials.grants import Grant
from kpi_gateway.credentials.internal_port import InternalPort
from kpi_gateway.credentials.memory import ExchangeMemory, KeyDigests
from kpi_gateway.credentials.presented import AUTHORIZATION, FIELDS, Pair
from kpi_gateway.credentials.uses import INTERVAL_SECONDS, Uses
from kpi_gateway.limits.keys import Counted, KeyLimits, LimitedRequest
from kpi_gateway.limits.service import Headers, TooManyRequestsError
from kpi_gateway.settings import GatewaySettings
from kpi_gateway.upstream.contract import UpstreamClient

# For the last reports of a gateway that stops.
_GRACE_SECONDS = 2.0


class KeyedRequest(NamedTuple):
    """``key`` is the text as the client sent it, ``address`` that of the client."""

    key: bytes
    address: str
    limited: LimitedRequest


class Accepted(NamedTuple):
    """The token for the services, the header fields of the response, and how long an exchange took, in seconds."""

    authorization: bytes
    headers: Headers
    seconds: float = 0.0

    def replace_in(self, headers: list[Pair]) -> list[Pair]:
        """The header fields of the request with the token in place of the key."""
        kept = [pair for pair in headers if pair[0] not in FIELDS]
        return [*kept, (AUTHORIZATION, self.authorization)]


class Credentials:
    """``outcomes`` counts requests with a key by what became of them."""

    def __init__(self, settings: GatewaySettings, limits: KeyLimits | None) -> None:
        self._settings = settings
        self._limits = limits
        self._digests = KeyDigests()
        self._uses = Uses()
        self._exchanges: Exchanges | None = None
        self.memory = ExchangeMemory()
        self.outcomes: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self, client: UpstreamClient) -> AsyncIterator[None]:
        """Exchange keys, and report their uses, while the block runs; without settings for it no key is accepted."""
        if self._settings.auth_internal_url is None:
            yield
            return
        port = InternalPort(self._settings, client)
        self._exchanges = Exchanges(port, self.memory)
        schedule = Schedule(interval=INTERVAL_SECONDS, first_delay=INTERVAL_SECONDS)

        async def report() -> bool:
            return await self._uses.report(port)

        async with running(repeat(report, schedule, failure="uses of API keys not reported"), name="key uses"):
            yield
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                while await report():
                    pass
        except TimeoutError:
            pass

    def exchange_counts(self) -> Mapping[tuple[str, ...], int]:
        return {(): self._exchanges.asked if self._exchanges is not None else 0}

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """Requests by outcome, and the uses that no report will have."""
        return {**{(outcome,): count for outcome, count in self.outcomes.items()}, ("use-lost",): self._uses.lost}

    async def accept(self, request: KeyedRequest) -> Accepted:
        """Raises a ProblemError, with the limits' header fields if the request was counted."""
        digest = self._digests.digest(request.key)
        grant = self.memory.find(digest)
        if grant is not None:
            self.outcomes["cached"] += 1
            return await self._admit(request, grant, None)
        began = time.monotonic()
        counted = await self._take_address(request)
        try:
            grant = await self._exchange(request, digest)
            self.outcomes["exchanged"] += 1
            accepted = await self._admit(request, grant, counted)
        except TooManyRequestsError:
            raise
        except ProblemError as error:
            error.headers |= counted.fields if counted is not None else {}
            raise
        return accepted._replace(seconds=time.monotonic() - began)

    def end_token(self, request: KeyedRequest, authorization: bytes) -> bool:
        """Note that a service refused this token of the key, and return whether another one may help."""
        return self.memory.end(self._digests.digest(request.key), authorization)

    def prove_token(self, request: KeyedRequest, authorization: bytes) -> None:
        self.memory.prove(self._digests.digest(request.key), authorization)

    async def renew(self, request: KeyedRequest, *, seconds: float) -> bytes:
        """The token in place of a refused one, within ``seconds``, for a request that has been counted.

        Raises a ProblemError.
        """
        digest = self._digests.digest(request.key)
        try:
            async with asyncio.timeout(seconds):
                grant = self.memory.find(digest) or await self._exchange(request, digest)
        except TimeoutError:
            self.outcomes["unavailable"] += 1
            raise ExchangeUnavailableError from None
        if not grant.allows(request.address):
            raise self._refuse_network(request, grant)
        self.outcomes["renewed"] += 1
        return grant.authorization

    async def _exchange(self, request: KeyedRequest, digest: bytes) -> Grant:
        if self._exchanges is None:
            raise KeysNotAcceptedError
        if self._limits is not None and not self.memory.was_valid(digest):
            self._limits.check_failures(request.limited)
        try:
            grant = await self._exchanges.get(digest, self._check(request.key, digest), request.limited.network)
        except InvalidKeyError:
            self.outcomes["invalid"] += 1
            if self._limits is not None:
                await self._limits.take_failure(request.limited)
            raise
        except ExchangeUnavailableError:
            self.outcomes["unavailable"] += 1
            raise
        return grant

    def _check(self, key: bytes, digest: bytes) -> str:
        """The text of a key that only auth can judge; InvalidKeyError for one that is mistyped or was refused."""
        text = key.decode("latin-1")
        if parse_key_text(text) is None or self.memory.is_refused(digest):
            raise InvalidKeyError
        return text

    async def _admit(self, request: KeyedRequest, grant: Grant, counted: Counted | None) -> Accepted:
        if not grant.allows(request.address):
            # It counts against its address: who has no right to use the key must not use up its quota.
            if counted is None:
                await self._take_address(request)
            raise self._refuse_network(request, grant)
        headers: Headers = []
        if self._limits is not None:
            headers = await self._limits.take_key(request.limited, grant.client, grant.limit, counted)
        self._uses.add(grant.key_id, request.address)
        return Accepted(grant.authorization, headers)

    def _refuse_network(self, request: KeyedRequest, grant: Grant) -> NetworkRefusedError:
        self.outcomes["network-refused"] += 1
        self._uses.refuse(grant.key_id, request.limited.network, request.address)
        return NetworkRefusedError()

    async def _take_address(self, request: KeyedRequest) -> Counted | None:
        return await self._limits.take_address(request.limited) if self._limits is not None else None
