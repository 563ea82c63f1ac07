"""What the gateway reports to auth about API keys: their uses and refused networks, in batches."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import structlog
from kpi_shared.addresses import parse_address
from kpi_shared.errors import ProblemError

from kpi_gateway.credentials.internal_port import InternalPort

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 3.0
_USES = b"/internal/api-keys/uses"
# Auth accepts this many in one report.
_MAX_BATCH = 1000
# How many are kept until the next report. Each refusal becomes a record of auth's audit trail.
_MAX_KEPT = 20_000
_MAX_REFUSALS = 100
_NO_CONTENT = 204


Key = TypeVar("Key")
Value = TypeVar("Value")


class _Use(NamedTuple):
    requests: int
    at: datetime
    address: str


class _Refusal(NamedTuple):
    """Requests with one key from one network, and the first address of these."""

    requests: int
    address: str


class Uses:
    """Counts uses in memory. ``lost`` counts those that no report will have."""

    def __init__(self, *, max_kept: int = _MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._uses: dict[int, _Use] = {}
        self._refusals: dict[tuple[int, str], _Refusal] = {}
        self.lost = 0

    def add(self, key_id: int, address: str) -> None:
        known = self._uses.get(key_id)
        if known is None and len(self._uses) >= self._max_kept:
            self.lost += 1
            return
        self._uses[key_id] = _Use(known.requests + 1 if known else 1, datetime.now(UTC), address)

    def refuse(self, key_id: int, network: str, address: str) -> None:
        """Note a request from an address that the key does not allow; ``network`` is that of rate limits."""
        known = self._refusals.get((key_id, network))
        if known is None and len(self._refusals) >= _MAX_REFUSALS:
            self.lost += 1
            return
        self._refusals[key_id, network] = _Refusal(known.requests + 1, known.address) if known else _Refusal(1, address)

    async def report(self, port: InternalPort) -> bool:
        """Send one batch, and return whether there is more. One that fails is lost, so that nothing counts twice."""
        uses, self._uses = _split(self._uses)
        refusals, self._refusals = self._refusals, {}
        if not uses and not refusals:
            return False
        members = {"uses": list(_describe_uses(uses)), "refusals": list(_describe_refusals(refusals))}
        result = await _post(port, members)
        if result != _NO_CONTENT:
            self.lost += sum(use.requests for use in uses.values())
            self.lost += sum(refusal.requests for refusal in refusals.values())
            log.warning("uses of API keys could not be reported", keys=len(uses), result=result)
        return bool(self._uses)


async def _post(port: InternalPort, members: object) -> int | str:
    """The status of the response, or the name of the error."""
    try:
        status, _ = await port.post(_USES, members)
    except (ProblemError, TimeoutError) as error:
        return type(error).__name__
    return status


def _split(all_: Mapping[Key, Value]) -> tuple[dict[Key, Value], dict[Key, Value]]:
    items = iter(all_.items())
    return dict(islice(items, _MAX_BATCH)), dict(items)


def _describe_uses(uses: Mapping[int, _Use]) -> Iterator[dict[str, Any]]:
    for key_id, use in uses.items():
        # A Unix socket has no address.
        address = parse_address(use.address)
        where = {"address": str(address)} if address else {}
        yield {"key_id": key_id, "count": use.requests, "last_used_at": use.at.isoformat(), **where}


def _describe_refusals(refusals: Mapping[tuple[int, str], _Refusal]) -> Iterator[dict[str, Any]]:
    for (key_id, _), refusal in refusals.items():
        parsed = parse_address(refusal.address)
        if parsed is not None:
            yield {"key_id": key_id, "address": str(parsed), "count": refusal.requests}
