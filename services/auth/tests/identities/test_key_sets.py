"""The keys of providers: when they are fetched, cached and discarded. The tests set the clock."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from identity_support import KeyServer, key_server, provider_of, signing_key
from jwt import PyJWK
from jwt.algorithms import RSAAlgorithm
from kpi_auth.identities import key_sets
from kpi_auth.identities.errors import ProviderUnreachableError
from kpi_auth.identities.key_sets import COOL_DOWN, FRESH, RETRY, STALE, KeySet

FIRST, SECOND = signing_key("RS256", "first"), signing_key("RS256", "second")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server(FIRST) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keys(server: KeyServer, clock: Clock) -> AsyncIterator[KeySet]:
    async with httpx.AsyncClient() as client:
        keys = KeySet(provider_of(server, "RS256", "ES256"), client, clock=clock)
        yield keys
        await keys.close()


async def _find(keys: KeySet, kid: str | None = "first", algorithm: str = "RS256") -> PyJWK | None:
    return await keys.find(kid=kid, algorithm=algorithm)


async def test_keys_are_fetched_once_while_they_are_fresh(keys: KeySet, server: KeyServer, clock: Clock) -> None:
    assert server.fetches == 0
    assert await _find(keys)
    clock.now += FRESH - 1
    assert await _find(keys)
    assert server.fetches == 1
    clock.now += 2
    assert await _find(keys)
    assert server.fetches == 2


async def test_a_new_key_is_found_at_once_and_an_old_one_forgotten(keys: KeySet, server: KeyServer) -> None:
    assert await _find(keys)
    server.keys = [SECOND.public]
    assert await _find(keys, "second")
    assert server.fetches == 2
    assert await _find(keys, "first") is None


async def test_an_unknown_key_causes_one_request_per_interval(keys: KeySet, server: KeyServer, clock: Clock) -> None:
    await _find(keys)
    assert [await _find(keys, f"made-up-{n}") for n in range(20)] == [None] * 20
    assert server.fetches == 2
    clock.now += COOL_DOWN - 1
    assert await _find(keys, "made-up") is None
    assert server.fetches == 2
    clock.now += 2
    assert await _find(keys, "made-up") is None
    assert server.fetches == 3


@pytest.mark.parametrize("warm", [True, False])
async def test_fifty_at_once_with_an_unknown_key_make_one_request(keys: KeySet, server: KeyServer, warm: bool) -> None:
    if warm:
        await _find(keys)
    before = server.fetches
    server.keys = [FIRST.public, SECOND.public]
    server.asked.clear()
    server.responses.clear()
    waiting = [asyncio.create_task(_find(keys, "second" if n % 2 else "made-up")) for n in range(50)]
    await asyncio.to_thread(server.asked.wait, 30)
    server.responses.set()
    found = await asyncio.gather(*waiting)
    assert server.fetches == before + 1
    # All callers that needed the new key while it was being fetched got it.
    assert [key is not None for key in found] == [bool(n % 2) for n in range(50)]


async def test_a_cancelled_caller_does_not_cancel_the_shared_request(keys: KeySet, server: KeyServer) -> None:
    server.responses.clear()
    first, second = (asyncio.create_task(_find(keys)) for _ in range(2))
    await asyncio.to_thread(server.asked.wait, 30)
    first.cancel()
    server.responses.set()
    assert await second
    assert server.fetches == 1


async def test_old_keys_are_used_while_the_provider_is_down_but_not_for_ever(
    keys: KeySet, server: KeyServer, clock: Clock
) -> None:
    await _find(keys)
    server.status = 500
    clock.now += FRESH
    assert await _find(keys)
    assert await _find(keys)
    # One failed request, then a pause.
    assert server.fetches == 2
    clock.now += RETRY
    assert await _find(keys)
    assert server.fetches == 3
    clock.now += STALE
    with pytest.raises(ProviderUnreachableError):
        await _find(keys)


async def test_a_provider_that_is_down_is_a_503_until_it_is_back(keys: KeySet, server: KeyServer, clock: Clock) -> None:
    server.stop()
    for _ in range(3):
        with pytest.raises(ProviderUnreachableError) as refused:
            await _find(keys)
    assert refused.value.headers["Retry-After"] == "10"
    server.start()
    with pytest.raises(ProviderUnreachableError):
        await _find(keys)
    assert server.fetches == 0
    clock.now += RETRY
    assert await _find(keys)


async def test_a_request_to_a_hanging_provider_times_out(
    keys: KeySet, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "TIMEOUT", 0.05)
    server.responses.clear()
    with pytest.raises(ProviderUnreachableError):
        await _find(keys)


def _entry(**changes: object) -> dict[str, object]:
    return {name: value for name, value in {**FIRST.public, **changes}.items() if value is not None}


BODIES = {
    "no JSON": b"<html>",
    "no object": b"[]",
    "no list": b'{"keys": {}}',
    "no keys": b'{"keys": []}',
    "no usable key": b'{"keys": [1, {"kty": "RSA"}, {"kty": "oct", "k": "AAAA", "kid": "first"}]}',
    "a broken number": b'{"keys": [{"kty": "RSA", "kid": "first", "n": "AQ", "e": "AQAB", "alg": "RS256"}]}',
    "deep": b'{"keys": ' + b"[" * 60_000,
    "huge": b'{"keys": [' + json.dumps(FIRST.public).encode() + b" " * key_sets.MAX_BYTES + b"]}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_an_invalid_key_set_is_ignored(keys: KeySet, server: KeyServer, body: bytes) -> None:
    server.body = body
    with pytest.raises(ProviderUnreachableError):
        await _find(keys)


async def test_a_redirect_is_not_followed(keys: KeySet, server: KeyServer) -> None:
    with key_server(FIRST) as elsewhere:
        server.status, server.headers = 302, {"Location": elsewhere.url}
        with pytest.raises(ProviderUnreachableError):
            await _find(keys)
        assert elsewhere.fetches == 0


async def test_a_compressed_response_is_not_decompressed(keys: KeySet, server: KeyServer) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(ProviderUnreachableError):
        await _find(keys)


@pytest.mark.parametrize(
    "entry",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"alg": "RS512"},
        {"kty": "EC"},
        RSAAlgorithm.to_jwk(FIRST.private, as_dict=True) | {"key_ops": ["verify"]},
        {"kid": 1},
    ],
    ids=["encryption", "signing", "another algorithm", "another kind", "a private key", "a number as its name"],
)
async def test_a_key_for_something_else_is_not_used(keys: KeySet, server: KeyServer, entry: dict[str, object]) -> None:
    server.keys = [_entry(**entry), SECOND.public]
    assert await _find(keys, "first") is None
    assert await _find(keys, "second")


async def test_a_key_without_use_and_algorithm_is_used(keys: KeySet, server: KeyServer) -> None:
    server.keys = [_entry(use=None, alg=None)]
    assert await _find(keys)


async def test_the_only_key_needs_no_name(keys: KeySet, server: KeyServer) -> None:
    assert await _find(keys, None)


async def test_of_several_keys_the_token_must_name_one(keys: KeySet, server: KeyServer) -> None:
    server.keys = [FIRST.public, SECOND.public]
    assert await _find(keys, None) is None


async def test_a_key_is_for_its_own_algorithm(keys: KeySet, server: KeyServer) -> None:
    server.keys = [FIRST.public, signing_key("ES256").public]
    assert await _find(keys, "first", "ES256") is None
    assert await _find(keys, "ES256", "ES256")
