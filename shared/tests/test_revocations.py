"""Which tokens revocations hit, for how long they are kept, and how old they may be."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kpi_shared import revocations as revocations_module
from kpi_shared.caller import Role, Subject
from kpi_shared.revocations import Revocations, RevocationsUnknownError
from kpi_shared.tokens import InvalidTokenError, KeyRing, TokenCodec, open_sealed
from kpi_shared.tokens import codec as tokens_module

KEY = bytes(range(3, 35))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(revocations_module, "monotonic", clock)
    return clock


@pytest.fixture
def revocations() -> Revocations:
    return Revocations(silence_limit=10, kill_key=lambda _kid: None)


@pytest.fixture
def codec() -> TokenCodec:
    return TokenCodec(KeyRing.local(KEY), issuer="i", audience="a")


def subject(*, session: str = "1", account: int = 7, version: int | None = 3, seconds: float = 300) -> Subject:
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    return Subject(
        account, "anna", Role.USER, session, "t", expires_at, account_version=version, token_key_id="k4.lid.x"
    )


def is_refused(revocations: Revocations, of: Subject) -> bool:
    try:
        revocations.check(of)
    except InvalidTokenError:
        return True
    return False


def test_a_session_and_lower_versions_of_an_account_are_refused(revocations: Revocations) -> None:
    revocations.end_sessions(["12", "key-5"], seconds=60)
    revocations.end_versions(7, below=3, seconds=60)
    for refused in (subject(session="12"), subject(session="key-5"), subject(version=2), subject(version=None)):
        assert is_refused(revocations, refused)
    for valid in (subject(), subject(session="5"), subject(version=4), subject(account=8, version=None)):
        assert not is_refused(revocations, valid)


def test_the_order_of_revocations_makes_no_difference(revocations: Revocations, clock: Clock) -> None:
    revocations.end_versions(7, below=5, seconds=60)
    revocations.end_versions(7, below=4, seconds=90)
    assert is_refused(revocations, subject(version=4))
    assert not is_refused(revocations, subject(version=5))
    # Tokens of version 3 are valid for longer than those of version 4.
    revocations.end_versions(8, below=4, seconds=90)
    revocations.end_versions(8, below=5, seconds=60)
    clock.now += 61
    revocations.mark_known(until=clock.now)
    assert is_refused(revocations, subject(account=8, version=3))


def test_memory_holds_what_may_still_be_hit(revocations: Revocations, clock: Clock) -> None:
    for number in range(10_000):
        clock.now += 1
        revocations.end_sessions([str(number)], seconds=60)
        revocations.end_versions(number, below=2, seconds=60)
        revocations.mark_known(until=clock.now)
        assert len(revocations) <= 2 * 60
    # The same again, for longer.
    revocations.end_sessions(["9999"], seconds=120)
    clock.now += 61
    revocations.mark_known(until=clock.now)
    assert len(revocations) == 1
    assert is_refused(revocations, subject(session="9999"))
    clock.now += 60
    revocations.mark_known(until=clock.now)
    assert len(revocations) == 0


def test_what_is_said_again_takes_no_more_memory(revocations: Revocations, clock: Clock) -> None:
    """A snapshot at each connection has the same entries, each time with a little more or less of their time left."""
    for repetition in range(200):
        clock.now += 0.5
        late = 0.1 if repetition % 2 else 0.0
        revocations.end_sessions(map(str, range(100)), seconds=500 - clock.now + 1000 + late)
        for account in range(1, 101):
            revocations.end_versions(account, below=2, seconds=500 - clock.now + 1000 + late)
        revocations.mark_known(until=clock.now)
    assert len(revocations._ends) == len(revocations) == 200
    clock.now = 1500.05
    revocations.mark_known(until=clock.now)
    assert len(revocations) == 200
    clock.now += 0.1
    revocations.mark_known(until=clock.now)
    assert len(revocations) == len(revocations._ends) == 0


def test_a_key_that_is_switched_on_and_off_takes_little_memory(revocations: Revocations, clock: Clock) -> None:
    for _ in range(2000):
        clock.now += 0.1
        revocations.end_sessions(["key-5"], seconds=900)
        revocations.mark_known(until=clock.now)
        revocations.restore_sessions(["key-5"])
    assert len(revocations._ends) < 500
    revocations.end_sessions(["key-5"], seconds=900)
    clock.now += 899
    revocations.mark_known(until=clock.now)
    assert is_refused(revocations, subject(session="key-5"))
    clock.now += 1.1
    revocations.mark_known(until=clock.now)
    assert len(revocations) == 0


def test_a_killed_key_is_ended_once() -> None:
    killed: list[str] = []
    revocations = Revocations(silence_limit=10, kill_key=killed.append)
    revocations.end_key("k4.lid.x")
    revocations.end_key("k4.lid.x")
    assert killed == ["k4.lid.x"]


def test_the_age_is_that_of_what_is_known(revocations: Revocations, clock: Clock) -> None:
    with pytest.raises(RevocationsUnknownError):
        revocations.require_known()
    revocations.mark_known(until=clock.now - 4)
    assert revocations.age == 4
    clock.now += 6
    revocations.require_known()
    clock.now += 0.1
    with pytest.raises(RevocationsUnknownError):
        revocations.require_known()


def shift_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The replica that mints from now on has such a clock."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=seconds)

    monkeypatch.setattr(tokens_module, "datetime", Shifted)


def mint(codec: TokenCodec, *, version: int) -> str:
    return codec.mint(
        user_id=7,
        username="anna",
        role=Role.USER,
        session_id="1",
        lifetime=timedelta(minutes=15),
        account_version=version,
    )


def issued_at(token: str) -> datetime:
    claims = json.loads(open_sealed(token, key=KEY))
    return datetime.fromisoformat(claims["iat"])


@pytest.mark.parametrize("skew", [-8, 0, 8])
def test_no_clock_decides_what_is_revoked(
    revocations: Revocations, codec: TokenCodec, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    """Docs/adr/0041: a rule "issued before the change" errs both ways where the minting replica's clock differs."""
    with monkeypatch.context() as patch:
        shift_clock(patch, skew)
        before, after = mint(codec, version=1), mint(codec, version=2)
        changed_at = datetime.now(UTC)
    revocations.end_versions(7, below=2, seconds=900)
    assert is_refused(revocations, codec.verify(before))
    assert not is_refused(revocations, codec.verify(after))
    if skew:
        # By time, a clock that is ahead keeps the old token, and one that is late refuses the new one.
        wrong = before if skew > 0 else after
        assert (issued_at(wrong) < changed_at) is (skew < 0)


async def wait(revocations: Revocations, of: Subject) -> None:
    """Until the subject is revoked."""
    ended = asyncio.Event()
    with revocations.watching(of, ended.set):
        await ended.wait()


async def waits(revocations: Revocations, of: Subject) -> "asyncio.Task[None]":
    task = asyncio.create_task(wait(revocations, of))
    await asyncio.sleep(0.02)
    return task


async def test_a_reader_waits_for_what_hits_it_alone(revocations: Revocations) -> None:
    by_session = await waits(revocations, subject(session="12"))
    by_account = await waits(revocations, subject(account=9, version=2))
    other = await waits(revocations, subject(session="13", account=9, version=3))
    for task in (by_session, by_account, other):
        assert not task.done()
    revocations.end_sessions(["12"], seconds=60)
    revocations.end_versions(9, below=3, seconds=60)
    await asyncio.wait_for(asyncio.gather(by_session, by_account), 5)
    await asyncio.sleep(0.02)
    assert not other.done()
    revocations.end_key("k4.lid.y")
    await asyncio.sleep(0.02)
    assert not other.done()
    revocations.end_key("k4.lid.x")
    await asyncio.wait_for(other, 5)
    # Each has left nothing behind.
    assert revocations.readers == 0


async def test_a_reader_who_is_revoked_already_waits_for_nothing(revocations: Revocations) -> None:
    revocations.end_sessions(["12"], seconds=60)
    await asyncio.wait_for(wait(revocations, subject(session="12")), 5)
    assert revocations.readers == 0
