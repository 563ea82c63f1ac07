"""Whether the time of a response discloses who has an account.

The samples are taken in turn, so that whatever else the machine does falls on all of them alike.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from statistics import median

import bcrypt
import httpx
import pytest
from argon2 import PasswordHasher as Argon2
from auth_support import PASSWORD, Accounts, empty, registration
from fastapi import FastAPI
from kpi_auth.app import create_app
from kpi_auth.sessions.worker import renew_decoys
from kpi_auth.settings import AuthSettings
from kpi_shared.testing.client import client_of, running

pytestmark = pytest.mark.quiet
SAMPLES = 200
# The allowed difference of the medians in seconds: less than the jitter of a network.
CLOSE = 0.005


@pytest.fixture
async def real(settings: AuthSettings) -> AsyncIterator[FastAPI]:
    """The service with production hashing parameters and without effective limits."""
    defaults = {name: AuthSettings.model_fields[name].default for name in ("argon2_memory_kib", "argon2_time_cost")}
    limits = {
        "failures_per_account_and_address": 1000,
        "failures_per_account": 10_000,
        "failures_per_address": 10_000,
    }
    mails = {"mails_per_account": 1000, "mails_per_address": 10_000, "registrations_per_address": 10_000}
    async with running(create_app(settings.model_copy(update={**defaults, **limits, **mails}))) as app:
        yield app


@pytest.fixture
async def client(real: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(real) as client:
        yield client
        await empty(real.state.database)


@pytest.fixture
def accounts(real: FastAPI, client: httpx.AsyncClient) -> Accounts:
    return Accounts(real, client)


async def medians(
    cases: dict[str, Callable[[], Awaitable[httpx.Response]]], status: int, *, samples: int = SAMPLES
) -> dict[str, float]:
    """The median time of each case in seconds; every response must have the status."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(samples):
        for name, ask in cases.items():
            began = time.perf_counter()
            response = await ask()
            taken[name].append(time.perf_counter() - began)
            assert response.status_code == status, response.text
    return {name: median(times) for name, times in taken.items()}


def spread(found: dict[str, float]) -> float:
    return max(found.values()) - min(found.values())


async def test_a_refused_sign_in_takes_the_same_time_for_every_name(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    for name in ("anna", "gone", "old"):
        await accounts.add(name)
    await accounts.add("fresh", verified=False)
    assert (await client.post("/users", json=registration("second", email="fresh@example.com"))).status_code == 201
    await accounts.execute("UPDATE users SET is_active = false, deleted_at = now() WHERE username = 'gone'")
    weaker = Argon2(time_cost=1, memory_cost=4096, parallelism=1).hash(PASSWORD)
    await accounts.execute("UPDATE users SET password_hash = :hash WHERE username = 'old'", hash=weaker)
    tries = {
        "unknown": ("nobody", PASSWORD),
        "wrong password": ("anna", "wrong password"),
        "soft-deleted": ("gone", PASSWORD),
        "unverified": ("fresh", "wrong password"),
        "unverified address": ("fresh@example.com", PASSWORD),
        "old parameters": ("old", "wrong password"),
    }

    def case(username: str, password: str) -> Callable[[], Awaitable[httpx.Response]]:
        return lambda: client.post("/auth/login", json={"username": username, "password": password})

    found = await medians({name: case(*tried) for name, tried in tries.items()}, 401)
    assert spread(found) < CLOSE, found


async def test_where_accounts_have_slow_hashes_unknown_names_are_as_slow(
    real: FastAPI, client: httpx.AsyncClient, accounts: Accounts
) -> None:
    await accounts.add("anna")
    # About five times the work of argon2id with the parameters of production.
    slow = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(11)).decode()
    await accounts.execute("UPDATE users SET password_hash = :hash", hash=slow)
    await renew_decoys(real.state.database, real.state.hasher)

    def case(username: str) -> Callable[[], Awaitable[httpx.Response]]:
        return lambda: client.post("/auth/login", json={"username": username, "password": "wrong password"})

    found = await medians({name: case(name) for name in ("anna", "nobody")}, 401, samples=10)
    assert spread(found) < max(found.values()) / 3, found


@pytest.mark.parametrize("path", ["forgot-password", "resend-verification"])
async def test_requesting_a_mail_takes_the_same_time_for_every_name(
    client: httpx.AsyncClient, accounts: Accounts, path: str
) -> None:
    for name in ("anna", "gone"):
        await accounts.add(name, verified=False)
    await accounts.execute("UPDATE users SET is_active = false, deleted_at = now() WHERE username = 'gone'")

    def case(username: str) -> Callable[[], Awaitable[httpx.Response]]:
        return lambda: client.post(f"/auth/{path}", json={"username": username})

    found = await medians({name: case(name) for name in ("anna", "gone", "nobody")}, 202)
    assert spread(found) < CLOSE, found


async def test_registering_takes_the_same_time_whether_or_not_the_address_is_taken(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    await accounts.add("anna")
    numbers = count()

    def case(email: str) -> Callable[[], Awaitable[httpx.Response]]:
        def ask() -> Awaitable[httpx.Response]:
            n = next(numbers)
            body = {"username": f"user{n}", "email": email.format(n), "password": PASSWORD}
            return client.post("/users", json=body)

        return ask

    found = await medians({"free": case("free{}@example.com"), "taken": case("anna@example.com")}, 201)
    assert spread(found) < CLOSE, found
