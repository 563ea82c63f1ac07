"""The memory of exchanges, and waiting for one under way."""

import asyncio
import json
import time
from typing import Any, cast

import pytest
from kpi_gateway.credentials.exchange import Exchanges
from kpi_gateway.credentials.grants import MAX_SECONDS, ExchangedKey, Grant
from kpi_gateway.credentials.internal_port import InternalPort
from kpi_gateway.credentials.memory import ExchangeMemory, KeyDigests

RESPONSE = {"access_token": "v4.local.x", "expires_in": 60, "key_id": 1, "allowed_networks": [], "rate_limit": None}


class Port:
    """Responds when ``gate`` is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.sent: list[list[str]] = []

    @property
    def calls(self) -> int:
        return len(self.sent)

    async def post(self, _target: bytes, members: dict[str, Any], **_: object) -> tuple[int, bytes]:
        keys = members.get("keys")
        self.sent.append(keys or [members["key"]])
        await self.gate.wait()
        return 200, json.dumps({"exchanged": [RESPONSE for _ in keys]} if keys else RESPONSE).encode()


def grant(seconds: float = 60.0, *, lifetime: int = 60) -> Grant:
    return Grant.of(ExchangedKey(**RESPONSE | {"expires_in": lifetime}), time.monotonic() - MAX_SECONDS + seconds)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_a_request_that_is_cancelled_does_not_fail_those_that_wait_with_it() -> None:
    port = Port()
    exchanges = Exchanges(cast("InternalPort", port), ExchangeMemory())
    first, second = (asyncio.create_task(exchanges.get(b"digest", "key", "")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    port.gate.set()
    assert (await second).key_id == 1
    assert first.cancelled()
    assert port.calls == 1


@pytest.mark.anyio
async def test_a_batch_goes_on_without_the_requests_that_were_cancelled() -> None:
    port = Port()
    exchanges = Exchanges(cast("InternalPort", port), ExchangeMemory())
    leader = asyncio.create_task(exchanges.get(b"leader", "key", ""))
    while not port.calls:  # noqa: ASYNC110 the stand-in has no event for it
        await asyncio.sleep(0)
    gone, other = (asyncio.create_task(exchanges.get(digest, "key", "")) for digest in (b"gone", b"other"))
    await asyncio.sleep(0)
    for cancelled in (leader, gone):
        cancelled.cancel()
    await asyncio.wait({leader, gone})
    port.gate.set()
    assert (await other).key_id == 1
    assert port.sent == [["key"], ["key", "key"]]
    assert leader.cancelled()
    assert gone.cancelled()


def test_a_grant_ends_within_five_seconds_and_with_the_key() -> None:
    began = time.monotonic()
    assert Grant.of(ExchangedKey(**RESPONSE), began).until == began + 4.5  # type: ignore[arg-type]
    assert Grant.of(ExchangedKey(**RESPONSE | {"expires_in": 2}), began).until == began + 2  # type: ignore[arg-type]


def test_wrong_keys_push_out_no_valid_ones() -> None:
    memory = ExchangeMemory(max_grants=2, max_refused=3)
    memory.add(b"valid", grant())
    for number in range(10):
        memory.refuse(b"wrong%d" % number, time.monotonic())
    assert memory.sizes == (1, 3)
    assert memory.find(b"valid") is not None
    assert [memory.is_refused(b"wrong%d" % number) for number in (0, 9)] == [False, True]


def test_the_key_that_was_used_least_recently_is_forgotten_first() -> None:
    memory = ExchangeMemory(max_grants=2)
    for digest in (b"a", b"b"):
        memory.add(digest, grant())
    memory.find(b"a")
    memory.add(b"c", grant())
    assert [memory.find(digest) is not None for digest in (b"a", b"b", b"c")] == [True, False, True]


def test_a_key_that_is_refused_is_no_longer_valid() -> None:
    memory = ExchangeMemory()
    memory.add(b"a", grant())
    memory.refuse(b"a", time.monotonic())
    assert memory.find(b"a") is None
    assert not memory.was_valid(b"a")


def test_a_grant_that_is_over_is_not_found() -> None:
    memory = ExchangeMemory()
    memory.add(b"a", grant(0.0))
    assert memory.find(b"a") is None
    assert memory.was_valid(b"a")


def test_digests_of_one_process_mean_nothing_in_another() -> None:
    one, other = KeyDigests(), KeyDigests()
    assert one.digest(b"key") == one.digest(b"key")
    assert one.digest(b"key") != other.digest(b"key")
    assert b"key" not in one.digest(b"key")
