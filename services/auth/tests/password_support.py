"""Requests about passwords."""

import httpx
from auth_support import PASSWORD, Accounts, code_of

NEW = "a brand new red bicycle"


async def change(client: httpx.AsyncClient, headers: dict[str, str], **more: str) -> httpx.Response:
    body = {"current_password": PASSWORD, "new_password": NEW} | more
    return await client.post("/auth/change-password", json=body, headers=headers)


async def reset(client: httpx.AsyncClient, code: str, password: str = NEW) -> httpx.Response:
    return await client.post("/auth/reset-password", json={"code": code, "new_password": password})


async def forgotten(client: httpx.AsyncClient, accounts: Accounts, name: str = "anna") -> str:
    """Request a reset and return the code from the mail."""
    response = await client.post("/auth/forgot-password", json={"username": name})
    assert response.status_code == 202, response.text
    return code_of((await accounts.mails(f"{name}@example.com"))[-1])


async def works(client: httpx.AsyncClient, headers: dict[str, str]) -> bool:
    return (await client.get("/auth/me", headers=headers)).is_success
