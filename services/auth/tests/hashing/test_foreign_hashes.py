"""Hashes of other systems: what they cost where there is an account, and where there is none."""

from collections import Counter
from collections.abc import Iterator

import bcrypt
import pytest
from auth_support import PASSWORD, Accounts
from fastapi import FastAPI
from kpi_auth.hashing.decoys import Decoys, HashForm
from kpi_auth.hashing.hasher import PasswordHasher
from kpi_auth.sessions.worker import renew_decoys
from kpi_auth.settings import AuthSettings
from structlog.testing import capture_logs

BCRYPT = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
DJANGO = "pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c="
COSTLY = BCRYPT.replace("$04$", "$31$")


@pytest.fixture
def hasher(settings: AuthSettings) -> Iterator[PasswordHasher]:
    hasher = PasswordHasher(settings)
    yield hasher
    hasher.close()


async def test_a_foreign_hash_is_verified_and_outdated(hasher: PasswordHasher) -> None:
    assert await hasher.verify(PASSWORD, BCRYPT)
    assert await hasher.verify("lètmein", DJANGO)
    assert not await hasher.verify("another", BCRYPT)
    assert hasher.is_outdated(BCRYPT)
    assert hasher.is_outdated(DJANGO)


@pytest.mark.parametrize("stored", [COSTLY, "5f4dcc3b5aa765d61d8327deb882cf99"], ids=["costly", "unknown"])
async def test_a_refused_hash_opens_nothing_and_is_logged_without_it(hasher: PasswordHasher, stored: str) -> None:
    with capture_logs() as logged:
        assert not await hasher.verify(PASSWORD, stored)
    assert [entry["event"] for entry in logged] == ["a stored hash was refused"]
    assert stored not in str(logged)


async def test_a_sign_in_replaces_a_hash_of_each_form(accounts: Accounts) -> None:
    for name, stored, password in (("anna", BCRYPT, PASSWORD), ("ben", DJANGO, "lètmein")):
        await accounts.add(name)
        await accounts.execute("UPDATE users SET password_hash = :hash WHERE username = :name", hash=stored, name=name)
        assert await accounts.sign_in(name, "another password") is None
        assert await accounts.sign_in(name, password)
        renewed = str(await accounts.scalar("SELECT password_hash FROM users WHERE username = :name", name=name))
        assert renewed.startswith("$argon2id$v=19$m=64,t=1,p=1$")
        assert await accounts.sign_in(name, password)
        assert await accounts.scalar("SELECT password_hash FROM users WHERE username = :name", name=name) == renewed


async def test_a_costly_hash_refuses_the_sign_in_at_once(accounts: Accounts) -> None:
    await accounts.add("anna")
    await accounts.execute("UPDATE users SET password_hash = :hash WHERE username = 'anna'", hash=COSTLY)
    assert await accounts.sign_in("anna", PASSWORD) is None


def test_as_many_unknown_names_are_slow_as_accounts_are() -> None:
    decoys = Decoys(b"k" * 32, "usual")
    names = [f"name{number}" for number in range(2000)]
    assert {decoys.choose(name) for name in names} == {"usual"}
    decoys.use([HashForm("rare", 0.1), HashForm("frequent", 0.5)])
    chosen = {name: decoys.choose(name) for name in names}
    shares = Counter(chosen.values())
    assert (shares["frequent"] / 2000, shares["rare"] / 2000, shares["usual"] / 2000) > (0.45, 0.05, 0.35)
    assert 0.45 < shares["frequent"] / 2000 < 0.55
    assert 0.07 < shares["rare"] / 2000 < 0.13
    # A name is slow each time and in each process, and what attackers know does not tell which.
    again = Decoys(b"k" * 32, "usual")
    again.use([HashForm("frequent", 0.5), HashForm("rare", 0.1)])
    assert {name: again.choose(name) for name in names} == chosen
    other = Decoys(b"o" * 32, "usual")
    other.use([HashForm("frequent", 0.5), HashForm("rare", 0.1)])
    assert {name: other.choose(name) for name in names} != chosen
    # As owners sign in, names become fast, and no fast one becomes slow.
    again.use([HashForm("frequent", 0.2)])
    assert {name for name in names if again.choose(name) != "usual"} < {
        name for name in names if chosen[name] == "frequent"
    }
    assert decoys.choose(None) == "usual"
    # A person's name and address are slow together, or not.
    assert {name: decoys.choose(f"{name.upper()}@example.com") for name in names} == chosen


async def test_the_decoys_follow_the_stored_hashes(app: FastAPI, accounts: Accounts) -> None:
    hasher: PasswordHasher = app.state.hasher
    for number in range(8):
        await accounts.add(f"user{number}")
    await accounts.execute("UPDATE users SET password_hash = :h WHERE username < 'user4'", h=BCRYPT)
    await accounts.execute("UPDATE users SET password_hash = :h WHERE username IN ('user4', 'user5')", h=DJANGO)
    await accounts.execute("UPDATE users SET password_hash = NULL WHERE username = 'user6'")
    await renew_decoys(app.state.database, hasher)
    forms = {form.example: round(form.share, 3) for form in hasher.decoys._forms}
    assert forms == {BCRYPT: round(4 / 7, 3), DJANGO: round(2 / 7, 3)}
    # Other parameters of argon2 take another time as well.
    for number, name in enumerate(("user0", "user1", "user2")):
        stored = f"$argon2id$v=19$m=65536,t={3 + number // 2},p=4$c29tZXNhbHQ{number}$nf65EOgLrQMR"
        await accounts.execute("UPDATE users SET password_hash = :h WHERE username = :name", h=stored, name=name)
    await renew_decoys(app.state.database, hasher)
    assert sorted(round(form.share * 7) for form in hasher.decoys._forms) == [1, 1, 2, 2]
    await accounts.execute("UPDATE users SET password_hash = NULL")
    await renew_decoys(app.state.database, hasher)
    assert list(hasher.decoys._forms) == []


async def test_an_unknown_name_is_verified_against_its_decoy_and_never_opens(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher: PasswordHasher = accounts.app.state.hasher
    hasher.decoys.use([HashForm(BCRYPT, 1.0)])
    verified: list[str] = []
    verify = hasher._functions.verify

    def watch(password: str, stored: str) -> bool:
        verified.append(stored)
        return verify(password, stored)

    monkeypatch.setattr(hasher._functions, "verify", watch)
    # It even matches the decoy.
    assert await accounts.sign_in("nobody", PASSWORD) is None
    assert verified == [BCRYPT]
    hasher.decoys.use([])
