"""The public keys of the providers: fetched when needed, cached, and requested at a bounded rate."""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import httpx
import structlog
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from kpi_auth.identities.errors import ProviderUnreachableError
from kpi_auth.settings.providers import IdentityProvider

log = structlog.get_logger(__name__)

# All times are in seconds.
TIMEOUT = 5.0
MAX_BYTES = 64 * 1024
_MAX_KEYS = 100
# The age at which keys are fetched again, and the age up to which they are used while the provider is unavailable.
FRESH = 600.0
STALE = 86_400.0
# An unverified token names its key, so the requests that unknown names cause are limited to one per this interval.
COOL_DOWN = 60.0
# The pause after a failed request.
RETRY = 10.0

# The key type and curve of each algorithm (RFC 7518, section 3.1; RFC 8037). Symmetric keys are never accepted.
_KEY_TYPES: dict[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}


class BadKeySetError(Exception):
    """The provider's response is not a usable key set."""


class _Key(NamedTuple):
    kid: str | None
    # One for each allowed algorithm that the key can be used with.
    by_algorithm: dict[str, PyJWK]


class KeySet:
    """The keys of one provider."""

    def __init__(
        self, provider: IdentityProvider, client: httpx.AsyncClient, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._provider = provider
        self._client = client
        self._clock = clock
        self._keys: tuple[_Key, ...] = ()
        self._read_at = self._failed_at = self._searched_at = -math.inf
        self._flight: asyncio.Task[None] | None = None
        self._flights = 0

    async def find(self, *, kid: str | None, algorithm: str) -> PyJWK | None:
        """The key that a token names; None if there is none, ProviderUnreachableError if the keys are not available."""
        came_at = self._flights
        await self._ensure_current()
        key = self._pick(kid, algorithm)
        # A caller that has just waited for a response need not request again.
        if key is None and self._flights == came_at:
            await self._search()
            key = self._pick(kid, algorithm)
        return key

    async def close(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    async def _ensure_current(self) -> None:
        if self._age < FRESH:
            return
        if self._flight is not None or self._clock() - self._failed_at >= RETRY:
            await self._fetch()
        if self._age >= STALE:
            raise ProviderUnreachableError(retry_after=math.ceil(RETRY))

    async def _search(self) -> None:
        if self._flight is None:
            if self._clock() - self._searched_at < COOL_DOWN:
                return
            self._searched_at = self._clock()
        await self._fetch()

    @property
    def _age(self) -> float:
        return self._clock() - self._read_at

    async def _fetch(self) -> None:
        """One request for all waiting callers; it continues if one of them is cancelled."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._refresh())
        await asyncio.shield(self._flight)

    async def _refresh(self) -> None:
        try:
            self._keys = await self._download()
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, TimeoutError, BadKeySetError) as error:
            self._failed_at = self._clock()
            reason = str(error) if isinstance(error, BadKeySetError) else type(error).__name__
            log.warning("keys of an identity provider cannot be read", provider=self._provider.name, reason=reason)
        else:
            self._read_at, self._failed_at = self._clock(), -math.inf
        finally:
            self._flight = None
            self._flights += 1

    async def _download(self) -> tuple[_Key, ...]:
        # Not compressed: a small compressed body could expand without limit.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        address = str(self._provider.jwks_url)
        async with asyncio.timeout(TIMEOUT), self._client.stream("GET", address, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise BadKeySetError(f"status {response.status_code}")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise BadKeySetError("compressed response")
            body = await _read_bounded(response)
        return _parse_key_set(body, self._provider.algorithms)

    def _pick(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """A single key needs no name; of several, the token must name one."""
        if kid is None:
            fitting: tuple[_Key, ...] = self._keys if len(self._keys) == 1 else ()
        else:
            fitting = tuple(key for key in self._keys if key.kid == kid)
        return next((key.by_algorithm[algorithm] for key in fitting if algorithm in key.by_algorithm), None)


async def _read_bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            raise BadKeySetError(f"more than {MAX_BYTES} bytes")
    return bytes(body)


def _parse_key_set(body: bytes, algorithms: Iterable[str]) -> tuple[_Key, ...]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadKeySetError("not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > _MAX_KEYS:
        raise BadKeySetError("no list of keys")
    allowed = tuple(algorithms)
    keys = tuple(key for entry in entries if (key := _parse_key(entry, allowed)) is not None)
    if not keys:
        raise BadKeySetError("no usable key")
    return keys


def _parse_key(entry: object, algorithms: tuple[str, ...]) -> _Key | None:
    """A public signature key for an allowed algorithm, or None; RFC 7517, sections 4.2 to 4.5."""
    if not isinstance(entry, dict) or "d" in entry or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    kid = entry.get("kid")
    if not isinstance(operations, list) or "verify" not in operations or not isinstance(kid, str | None):
        return None
    by_algorithm = dict(_parse_algorithms(entry, algorithms))
    return _Key(kid, by_algorithm) if by_algorithm else None


def _parse_algorithms(entry: dict[str, Any], algorithms: tuple[str, ...]) -> Iterator[tuple[str, PyJWK]]:
    for algorithm in algorithms:
        kind, curve = _KEY_TYPES[algorithm]
        fits = entry.get("kty") == kind and (curve is None or entry.get("crv") == curve)
        if not fits or entry.get("alg", algorithm) != algorithm:
            continue
        try:
            yield algorithm, PyJWK(entry, algorithm)
        except (PyJWTError, ValueError, TypeError, OverflowError):
            log.warning("a key of an identity provider cannot be read", algorithm=algorithm)
