"""Repeated refreshes: what a second holder of the tokens does, and what clients do that hold them alone."""

import asyncio
import secrets
import time
from ipaddress import ip_address
from typing import NamedTuple

import httpx
import pytest
from auth_support import Account, Accounts
from kpi_auth.origin import Origin
from kpi_auth.sessions import repository, service
from kpi_auth.sessions.repeats import Suspicion, judge
from kpi_auth.tokens.errors import InvalidRefreshTokenError
from kpi_auth.tokens.refresh_tokens import parse

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
HOME = {"X-Forwarded-For": "198.51.100.7", "User-Agent": BROWSER}
NEIGHBOUR = HOME | {"X-Forwarded-For": "198.51.100.200"}
UPDATED = HOME | {"User-Agent": BROWSER.replace("140", "141")}
CAFE = HOME | {"X-Forwarded-For": "203.0.113.9"}
SCRIPT = HOME | {"User-Agent": "curl/8.5.0"}
THIEF = SCRIPT | {"X-Forwarded-For": "203.0.113.9"}
ROTATIONS = 40


@pytest.fixture
def accounts(shared_accounts: Accounts) -> Accounts:
    """On real connections, so that time passes."""
    return shared_accounts


@pytest.fixture
def client(shared_client: httpx.AsyncClient) -> httpx.AsyncClient:
    return shared_client


async def refresh(client: httpx.AsyncClient, token: str, headers: dict[str, str]) -> str | None:
    """The successor, or None."""
    response = await client.post("/auth/refresh", json={"refresh_token": token}, headers=headers)
    assert response.status_code in {200, 401}
    return response.json().get("refresh_token")


async def pass_time(accounts: Accounts, user_id: int, interval: str) -> None:
    await accounts.execute(
        """
        UPDATE sessions SET created_at = created_at - CAST(:by AS interval), used_at = used_at - CAST(:by AS interval),
            used_before = used_before - CAST(:by AS interval)
        WHERE user_id = :id
        """,
        id=user_id,
        by=interval,
    )


async def reuse_signs(accounts: Accounts, anna: Account) -> list[str]:
    statement = """
        SELECT coalesce(string_agg(details ->> 'sign', ' '), '') FROM audit_events
        WHERE subject_id = :id AND event = 'session.refresh_reused'
    """
    return str(await accounts.scalar(statement, id=anna.id)).split()


class Pace(NamedTuple):
    """How long after the last refresh the second client comes, and how long until the next one."""

    before_repeat: str | None
    before_next: str | None


AT_EXPIRY = Pace("1 second", "14 minutes")
QUICK = Pace(None, None)


async def rotations_survived(
    client: httpx.AsyncClient, accounts: Accounts, anna: Account, other: dict[str, str], pace: Pace
) -> int:
    """The refreshes that both the owner and a client with the same tokens get an answer to."""
    token = anna.refresh_token
    for number in range(ROTATIONS):
        successor = await refresh(client, token, HOME)
        if pace.before_repeat:
            await pass_time(accounts, anna.id, pace.before_repeat)
        repeated = await refresh(client, token, other)
        if successor is None or repeated is None:
            return number
        assert repeated == successor
        token = successor
        if pace.before_next:
            await pass_time(accounts, anna.id, pace.before_next)
    return ROTATIONS


@pytest.mark.parametrize(
    ("other", "pace", "survived", "sign"),
    [
        (THIEF, AT_EXPIRY, 0, "elsewhere"),
        (CAFE, AT_EXPIRY, 4, "repeated"),
        (SCRIPT, AT_EXPIRY, 4, "repeated"),
        # In the owner's network with the owner's browser: noticed unless it comes within seconds, as a second tab does.
        (HOME, Pace("11 seconds", "14 minutes"), 4, "repeated"),
        (HOME, QUICK, 8, "repeated"),
        (NEIGHBOUR, QUICK, 8, "repeated"),
    ],
)
async def test_a_thief_who_refreshes_after_each_refresh_of_the_owner_is_noticed(
    client: httpx.AsyncClient, accounts: Accounts, other: dict[str, str], pace: Pace, survived: int, sign: str
) -> None:
    anna = await accounts.add("anna")
    found = await rotations_survived(client, accounts, anna, other, pace)
    # On a busy machine a quick repeat may seem to have overlapped, which delays the notice.
    assert survived <= found < ROTATIONS if pace == QUICK else found == survived
    assert await reuse_signs(accounts, anna) == [sign]
    reason = await accounts.scalar("SELECT end_reason FROM sessions WHERE user_id = :id", id=anna.id)
    assert reason == "reuse"
    assert "sessions_ended" in [mail.template for mail in await accounts.mails("anna@example.com")]


@pytest.mark.parametrize("other", [HOME, NEIGHBOUR, UPDATED])
async def test_two_tabs_that_refresh_at_each_expiry_keep_their_session(
    client: httpx.AsyncClient, accounts: Accounts, other: dict[str, str]
) -> None:
    anna = await accounts.add("anna")
    assert await rotations_survived(client, accounts, anna, other, AT_EXPIRY) == ROTATIONS
    assert await reuse_signs(accounts, anna) == []


async def test_parallel_refreshes_in_quick_succession_end_nothing(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    """Clients that send at once: each request was there before the first had its response."""
    anna = await accounts.add("anna")
    token = anna.refresh_token
    for _ in range(ROTATIONS):
        context = accounts.context

        async def once(token: str = token) -> str:
            return str((await service.refresh(context, token=token)).refresh_token)  # noqa: B023 awaited in this pass

        found = set(await asyncio.gather(*[once() for _ in range(10)]))
        assert len(found) == 1
        (token,) = found
    assert await reuse_signs(accounts, anna) == []


@pytest.mark.parametrize("place", [HOME, CAFE])
async def test_responses_that_are_lost_now_and_then_end_nothing(
    client: httpx.AsyncClient, accounts: Accounts, place: dict[str, str]
) -> None:
    """Four late retries in a row, then one refresh that needs none; the client may have moved in between."""
    anna = await accounts.add("anna")
    token: str | None = anna.refresh_token
    for number in range(ROTATIONS):
        assert token is not None
        successor = await refresh(client, token, HOME)
        await pass_time(accounts, anna.id, "5 minutes")
        if number % 5 != 4:
            assert await refresh(client, token, place) == successor
            # The client that was not sure sends it again; one refresh counts once.
            assert await refresh(client, token, place) == successor
        token = successor
    assert await reuse_signs(accounts, anna) == []


async def test_a_request_that_waited_while_the_client_moved_on_ends_nothing(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    """It was sent to a process that stood still, and then repeated elsewhere: its token was valid when it was sent."""
    anna = await accounts.add("anna")
    started = time.monotonic()
    child = await refresh(client, anna.refresh_token, HOME)
    assert child
    grandchild = await refresh(client, child, HOME)
    assert grandchild
    context = accounts.context
    old = parse(anna.refresh_token)
    async with context.database.writing() as connection:
        assert await service._handle_out_of_turn(context, connection, old, started=started) is None
    assert await refresh(client, grandchild, HOME)
    assert await reuse_signs(accounts, anna) == []
    # The same token in a request that is sent now: later than the last refresh by more than a request takes, since the
    # time of its arrival is known no better.
    await asyncio.sleep(1)
    with pytest.raises(InvalidRefreshTokenError):
        await service.refresh(context, token=anna.refresh_token)
    assert await reuse_signs(accounts, anna) == ["older"]


async def test_the_code_before_keeps_working_on_the_new_columns(accounts: Accounts) -> None:
    """During an update, replicas of both versions advance the same counters."""
    anna = await accounts.add("anna")
    number = int(accounts.app.state.tokens.verify(anna.token).session_id)
    await accounts.execute(
        "UPDATE sessions SET counter = counter + 1, used_at = now(), address = NULL, user_agent = NULL WHERE id = :id",
        id=number,
    )
    lifetimes = accounts.app.state.lifetimes
    async with accounts.app.state.database.writing() as connection:
        row = await repository.lock(connection, session_id=number, lifetimes=lifetimes)
    assert row is not None
    assert (row.counter, row.suspicion) == (1, 0)
    unknown = Origin(None, None, secrets.token_hex(4))
    assert judge(row, unknown, has_overlapped=False) is not Suspicion.ELSEWHERE
    assert (
        judge(row, unknown._replace(address=ip_address("2001:db8::1"), user_agent="x"), has_overlapped=False)
        is Suspicion.ELSEWHERE
    )
