"""Writing, reading and deleting messages."""

import httpx
from content_support import Caller


async def test_a_message_gets_the_next_number(client: httpx.AsyncClient, anna: Caller) -> None:
    made = await client.post("/conversations", json={"title": "Of bees"}, headers=anna.headers)
    assert made.status_code == 201, made.text
    address = made.headers["Location"]
    for number in (1, 2):
        sent = {"role": "user", "content": f"message {number}", "metadata": {"n": [number, 1.5, None]}}
        written = await client.post(f"{address}/messages", json=sent, headers=anna.headers)
        assert written.status_code == 201, written.text
        shown = written.json()
        assert (shown["number"], shown["content"]) == (number, sent["content"])
    read = await client.get(address, headers=anna.headers)
    assert read.json()["last_number"] == 2
