"""What real, parallel connections do to registration."""

import asyncio

import httpx
from auth_support import registration


async def test_of_many_registrations_of_one_name_one_wins(shared_client: httpx.AsyncClient) -> None:
    bodies = [registration("Race" if n % 2 else "race", email=f"race{n}@example.com") for n in range(20)]
    answers = await asyncio.gather(*[shared_client.post("/users", json=body) for body in bodies])
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
