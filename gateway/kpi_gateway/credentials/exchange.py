"""The exchange of API keys with auth, on its internal port."""

import asyncio
import json
import time
from collections.abc import Sequence

import structlog
from kpi_shared.errors import ProblemError
from pydantic import ValidationError

from kpi_gateway.credentials.batches import Asked, Batches, Outcome
from kpi_gateway.credentials.errors import InvalidKeyError
from kpi_gateway.credentials.grants import ExchangedKey, Grant
from kpi_gateway.credentials.internal_port import InternalPort
from kpi_gateway.credentials.memory import ExchangeMemory

log = structlog.get_logger(__name__)

_EXCHANGE, _EXCHANGES = b"/internal/api-keys/exchange", b"/internal/api-keys/exchanges"
_HTTP_OK, _HTTP_UNAUTHORIZED, _HTTP_NOT_FOUND = 200, 401, 404


class Exchanges:
    """Exchanges keys, each at most once at a time: requests that come meanwhile wait for the same response."""

    def __init__(self, port: InternalPort, memory: ExchangeMemory) -> None:
        self._port = port
        self._memory = memory
        self._flights: dict[bytes, asyncio.Future[Outcome]] = {}
        self._batches = Batches(self._ask)
        # About how many keys auth was asked.
        self.asked = 0

    async def get(self, digest: bytes, key: str, network: str) -> Grant:
        """Raises InvalidKeyError or ExchangeUnavailableError."""
        flight = self._flights.get(digest)
        if flight is None:
            self.asked += 1
            flight = self._batches.add(digest, key, network)
            self._flights[digest] = flight
            flight.add_done_callback(lambda _: self._flights.pop(digest))
        # The request that comes first may be cancelled, and others wait for the same response.
        outcome = await asyncio.shield(flight)
        if isinstance(outcome, Grant):
            return outcome
        raise outcome

    async def _ask(self, batch: Sequence[Asked]) -> None:
        try:
            if len(batch) == 1:
                await self._ask_one(batch[0])
            elif not await self._ask_all(batch):
                # Auth is of a version that exchanges one key at a time.
                await asyncio.gather(*(self._ask([asked]) for asked in batch))
        except (ProblemError, TimeoutError) as error:
            log.warning("API keys could not be exchanged", error=type(error).__name__, keys=len(batch))
        except Exception:
            log.exception("API keys could not be exchanged", keys=len(batch))

    async def _ask_one(self, asked: Asked) -> None:
        began = time.monotonic()
        members = {"key": asked.key}
        status, body = await self._port.post(_EXCHANGE, members, client=asked.network, is_repeatable=True)
        if status == _HTTP_OK:
            self._accept(asked, began, json.loads(body))
        elif status == _HTTP_UNAUTHORIZED and _problem_type(body) == InvalidKeyError.type:
            self._refuse(asked, began)
        else:
            # 401 of another type: INTERNAL_KEY differs.
            log.warning("auth refused an exchange", status=status, type=_problem_type(body))

    async def _ask_all(self, batch: Sequence[Asked]) -> bool:
        """Whether auth knows this request."""
        began = time.monotonic()
        members = {"keys": [asked.key for asked in batch]}
        networks = {asked.network for asked in batch}
        client = networks.pop() if len(networks) == 1 else ""
        status, body = await self._port.post(_EXCHANGES, members, client=client, is_repeatable=True)
        if status == _HTTP_OK:
            for asked, found in zip(batch, json.loads(body)["exchanged"], strict=True):
                self._settle(asked, began, found)
        elif status != _HTTP_NOT_FOUND:
            log.warning("auth refused an exchange", status=status, type=_problem_type(body))
        return status != _HTTP_NOT_FOUND

    def _settle(self, asked: Asked, began: float, found: object) -> None:
        if found is None:
            self._refuse(asked, began)
        else:
            self._accept(asked, began, found)

    def _accept(self, asked: Asked, began: float, found: object) -> None:
        try:
            grant = Grant.of(ExchangedKey.model_validate(found), began)
        except ValidationError as error:
            log.error("auth's response to an exchange has another form", fields=_fields(error))  # noqa: TRY400
            return
        self._memory.add(asked.digest, grant)
        asked.settle(grant)

    def _refuse(self, asked: Asked, began: float) -> None:
        self._memory.refuse(asked.digest, began)
        asked.settle(InvalidKeyError)


def _fields(error: ValidationError) -> list[str]:
    return [".".join(map(str, each["loc"])) for each in error.errors(include_input=False)]


def _problem_type(body: bytes) -> object:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document.get("type") if isinstance(document, dict) else None
