"""The keys of tokens at the gateway: followed, reported, and dropped when auth says that one was killed."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from credential_support import header, keyed_gateway, make_key
from kpi_gateway.limits.subjects import Subjects
from kpi_shared.caller import Role
from kpi_shared.key_ring import KeyRing, Purpose, parse_ring
from kpi_shared.tokens import TokenCodec
from ring_support import MadeKey, make_local, make_public, ring_text


@pytest.mark.parametrize("make", [make_local, make_public])
async def test_it_reports_its_keys_and_exchanges_api_keys_anew_after_a_kill(
    make: Callable[[], MadeKey], tmp_path: Path
) -> None:
    first, second, third = make(), make(), make()
    ring = tmp_path / "ring"
    put(ring, {first: "active"})
    purpose = Purpose.LOCAL if make is make_local else Purpose.PUBLIC
    async with keyed_gateway(paseto_keys_file=ring, token_purpose=purpose) as setup:
        auth, client = setup.auth, setup.client
        await eventually(lambda: [each["keys"] for each in auth.holdings] == [{first.kid: "active"}])
        assert (auth.holdings[0]["part"], auth.holdings[0]["purpose"]) == ("gateway", purpose)
        await use_key(client)
        put(ring, {first: "verify-only", second: "active"})
        await eventually(lambda: auth.holdings[-1]["keys"] == {first.kid: "verify-only", second.kid: "active"})
        await use_key(client)
        # A rotation ends no exchange.
        assert len(auth.exchanged) == 1
        auth.killed = [first.kid]
        # Its next report, which the change brings forward.
        put(ring, {first: "verify-only", second: "active", third: "next"})
        await eventually(lambda: auth.holdings[-1]["keys"] == {second.kid: "active", third.kid: "next"})
        await use_key(client)
        assert len(auth.exchanged) == 2


@pytest.mark.parametrize("make", [make_local, make_public])
def test_a_token_that_came_before_its_key_has_a_subject_with_the_key(make: Callable[[], MadeKey]) -> None:
    first, second = make(), make()
    purpose = Purpose.LOCAL if make is make_local else Purpose.PUBLIC

    def ring(keys: dict[MadeKey, str], *, mints: bool = False) -> KeyRing:
        return parse_ring(ring_text(keys, mints=mints), purpose=purpose, mints=mints)

    names = {"issuer": "kpi-one", "audience": "kpi-one"}
    codec, auth = (
        TokenCodec(ring({first: "active"}), **names),
        TokenCodec(ring({second: "active"}, mints=True), **names),
    )
    lifetime = timedelta(minutes=5)
    token = auth.mint(user_id=7, username="anna", role=Role.USER, session_id="12", lifetime=lifetime)
    sent = [(b"authorization", f"Bearer {token}".encode())]
    subjects = Subjects(codec)
    assert subjects.find(sent) is None
    codec.use(ring({first: "active", second: "next"}))
    assert subjects.find(sent) == "7"


KEY = make_key()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.01)


async def use_key(client: httpx.AsyncClient) -> None:
    assert (await client.get("/posts", headers=header(KEY))).status_code == 200


def put(path: Path, keys: dict[MadeKey, str]) -> None:
    path.with_name("new").write_text(ring_text(keys, mints=False))
    path.with_name("new").replace(path)
