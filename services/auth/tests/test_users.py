"""Registration, and who sees what of a user."""

import httpx

ANNA = {"username": "anna", "email": "anna@example.com", "password": "a quiet red bicycle"}


async def test_registration_answers_the_user_and_never_a_hash(client: httpx.AsyncClient) -> None:
    answer = await client.post("/users", json=ANNA)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert shown["username"] == "anna"
    assert shown["email"] == "anna@example.com"
    assert set(shown) == {"id", "username", "email", "role", "is_active", "created_at", "updated_at"}
    assert "argon2" not in answer.text
