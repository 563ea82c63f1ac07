"""Registration on real, parallel connections."""

import asyncio

import httpx
from auth_support import registration


async def test_only_one_of_parallel_registrations_of_a_name_succeeds(shared_client: httpx.AsyncClient) -> None:
    bodies = [registration("Race" if n % 2 else "race", email=f"race{n}@example.com") for n in range(20)]
    responses = await asyncio.gather(*[shared_client.post("/users", json=body) for body in bodies])
    assert sorted(response.status_code for response in responses) == [201] + [409] * 19
