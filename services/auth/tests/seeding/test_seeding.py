"""Seeded accounts: they sign in with the password that the command prints."""

import httpx
from fastapi import FastAPI
from kpi_auth.seeding import users


async def seed(app: FastAPI, count: int) -> int:
    async with app.state.database.writing() as connection:
        return await users.seed(connection, count=count)


async def test_accounts_are_added_once_and_sign_in(app: FastAPI, client: httpx.AsyncClient) -> None:
    assert [await seed(app, count) for count in (2, 2, 12)] == [2, 0, 10]
    roles = {}
    for username in ("seed_admin_1", "seed_user_2", "seed_admin_11", "seed_user_12"):
        assert username in users.NOTE or username.endswith(("11", "12"))
        made = await client.post("/auth/login", json={"username": username, "password": users.PASSWORD})
        assert made.status_code == 200, made.text
        headers = {"Authorization": f"Bearer {made.json()['access_token']}"}
        roles[username] = (await client.get("/auth/me", headers=headers)).json()["role"]
    assert set(roles.values()) == {"admin", "user"}
    assert all(role in username for username, role in roles.items())


async def test_the_password_is_printed() -> None:
    assert users.PASSWORD in users.NOTE
