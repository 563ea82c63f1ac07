"""The exchange of API keys with auth, on its internal port."""

import asyncio
import json
import time

import structlog
from kpi_shared.errors import ProblemError
from pydantic import ValidationError

from kpi_gateway.credentials.errors import ExchangeUnavailableError, InvalidKeyError
from kpi_gateway.credentials.grants import ExchangedKey, Grant
from kpi_gateway.credentials.internal_port import InternalPort
from kpi_gateway.credentials.memory import ExchangeMemory

log = structlog.get_logger(__name__)

_EXCHANGE = b"/internal/api-keys/exchange"
_HTTP_OK, _HTTP_UNAUTHORIZED = 200, 401

_Outcome = Grant | type[ProblemError]


class Exchanges:
    """Exchanges keys, each at most once at a time: requests that come meanwhile wait for the same response."""

    def __init__(self, port: InternalPort, memory: ExchangeMemory) -> None:
        self._port = port
        self._memory = memory
        self._flights: dict[bytes, asyncio.Task[_Outcome]] = {}
        # How often auth was asked.
        self.asked = 0

    async def get(self, digest: bytes, key: str, network: str) -> Grant:
        """Raises InvalidKeyError or ExchangeUnavailableError."""
        flight = self._flights.get(digest)
        if flight is None:
            # A task of its own: the request that comes first may be cancelled, and others wait for the same response.
            flight = asyncio.create_task(self._exchange(digest, key, network))
            self._flights[digest] = flight
            flight.add_done_callback(lambda _: self._flights.pop(digest))
        outcome = await asyncio.shield(flight)
        if isinstance(outcome, Grant):
            return outcome
        raise outcome

    async def _exchange(self, digest: bytes, key: str, network: str) -> _Outcome:
        began = time.monotonic()
        self.asked += 1
        try:
            status, body = await self._port.post(_EXCHANGE, {"key": key}, client=network, is_repeatable=True)
            return self._remember(digest, began, status, body)
        except (ProblemError, TimeoutError) as error:
            log.warning("API key could not be exchanged", error=type(error).__name__)
        except Exception:
            log.exception("API key could not be exchanged")
        return ExchangeUnavailableError

    def _remember(self, digest: bytes, began: float, status: int, body: bytes) -> _Outcome:
        if status == _HTTP_OK:
            try:
                grant = Grant.of(ExchangedKey.model_validate_json(body), began)
            except ValidationError as error:
                log.error("auth's response to an exchange has another form", fields=_fields(error))  # noqa: TRY400
                return ExchangeUnavailableError
            self._memory.add(digest, grant)
            return grant
        if status == _HTTP_UNAUTHORIZED and _problem_type(body) == InvalidKeyError.type:
            self._memory.refuse(digest, began)
            return InvalidKeyError
        # 401 of another type: INTERNAL_KEY differs.
        log.warning("auth refused an exchange", status=status, type=_problem_type(body))
        return ExchangeUnavailableError


def _fields(error: ValidationError) -> list[str]:
    return [".".join(map(str, each["loc"])) for each in error.errors(include_input=False)]


def _problem_type(body: bytes) -> object:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document.get("type") if isinstance(document, dict) else None
