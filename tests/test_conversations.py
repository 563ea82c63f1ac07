"""Two people share a conversation, through the gateway."""

import json
import uuid

import httpx
import pytest
from kpi_shared.testing.process import wait_until
from stack import PASSWORD, Person, join

pytestmark = pytest.mark.e2e
API = "/api/v1/conversations"


def share(client: httpx.Client, address: str, owner: Person, member: Person, role: str) -> str:
    """The address of the new member, whose account content knows from auth's feed a moment after it was made."""
    body = {"username": member.username.upper(), "role": role}
    added: list[httpx.Response] = []

    def add() -> bool:
        added.append(client.post(f"{address}/members", json=body, headers=owner.headers))
        return added[-1].json().get("type") != "unknown-user"

    wait_until(add)
    assert added[-1].status_code == 201, added[-1].text
    assert added[-1].json()["user"] == {"id": member.id, "username": member.username, "deleted": False}
    return added[-1].headers["location"]


def test_two_people_write_read_search_and_part(client: httpx.Client) -> None:
    anna, ben, stranger = join(client), join(client), join(client)
    word = f"w{uuid.uuid4().hex}"
    made = client.post(API, json={"title": "Of bees"}, headers=anna.headers)
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    assert address == f"{API}/{made.json()['id']}"
    assert client.get(address, headers=ben.headers).status_code == 404
    membership = share(client, address, anna, ben, "writer")

    messages = [
        client.post(f"{address}/messages", json={"content": f"{word} {number}"}, headers=person.headers)
        for number, person in enumerate((anna, anna, ben), start=1)
    ]
    assert [message.json()["number"] for message in messages] == [1, 2, 3]
    assert client.get(messages[2].headers["location"], headers=anna.headers).json() == messages[2].json()
    [shown] = client.get(API, headers=anna.headers).json()["items"]
    assert (shown["unread"], shown["last_excerpt"], shown["role"]) == (1, f"{word} 3", "owner")
    assert client.put(f"{address}/read", json={"number": 3}, headers=anna.headers).json()["unread"] == 0

    for slash in ("", "/"):
        page = client.get(f"{address}/messages{slash}", params={"before": 3, "limit": 1}, headers=ben.headers).json()
        assert [item["number"] for item in page["items"]] == [2]
        found = client.get(f"/api/v1/messages{slash}", params={"search": word}, headers=ben.headers).json()["items"]
        assert [item["number"] for item in found] == [3, 2, 1]
        for refused in (address, f"{address}/messages", f"{address}/members"):
            assert client.get(refused + slash, headers=stranger.headers).status_code == 404
    assert client.get("/api/v1/messages", params={"search": word}, headers=stranger.headers).json()["items"] == []

    assert client.delete(membership, headers=anna.headers).status_code == 204
    assert client.get(address, headers=ben.headers).status_code == 404
    assert client.delete(address, headers=anna.headers).status_code == 204
    assert client.get(address, headers=anna.headers).status_code == 404


def test_a_version_that_the_client_has_is_not_sent_again(client: httpx.Client, person: Person) -> None:
    address = client.post(API, json={"title": "Of bees"}, headers=person.headers).headers["location"]
    tag = client.get(address, headers=person.headers).headers["etag"]
    assert client.get(address, headers=person.headers | {"If-None-Match": tag}).status_code == 304
    renamed = client.patch(address, json={"title": "Of wasps"}, headers=person.headers | {"If-Match": tag})
    assert renamed.status_code == 200
    stale = client.delete(address, headers=person.headers | {"If-Match": tag})
    assert stale.json()["type"] == "changed-meanwhile"


def test_a_deleted_account_keeps_its_messages_without_its_name(client: httpx.Client) -> None:
    anna, ben = join(client), join(client)
    address = client.post(API, json={"title": "Of bees"}, headers=anna.headers).headers["location"]
    membership = share(client, address, anna, ben, "writer")
    message = client.post(f"{address}/messages", json={"content": "buzz"}, headers=ben.headers).headers["location"]
    deleted = client.request("DELETE", f"/api/v1/users/{ben.id}", headers=ben.headers, json={"password": PASSWORD})
    assert deleted.status_code == 204, deleted.text
    nameless = {"id": ben.id, "username": None, "deleted": True}
    wait_until(lambda: client.get(membership, headers=anna.headers).json()["user"] == nameless)
    assert client.get(message, headers=anna.headers).json()["author"] == nameless
    body = {"user_id": ben.id, "role": "reader"}
    other = client.post(API, json={"title": "Another"}, headers=anna.headers).headers["location"]
    assert client.post(f"{other}/members", json=body, headers=anna.headers).json()["type"] == "unknown-user"


def test_every_character_of_the_longest_message_may_be_escaped(client: httpx.Client) -> None:
    headers = {**join(client).headers, "Content-Type": "application/json"}
    address = client.post(API, json={"title": "Of bees"}, headers=headers).headers["location"]
    bees = "🐝" * 100_000
    # 12 bytes for each.
    written = client.post(f"{address}/messages", content=json.dumps({"content": bees}), headers=headers)
    assert written.status_code == 201, written.text
    assert written.json()["content"] == bees
    streamed = client.post(
        f"{address}/messages?stream=true",
        content=json.dumps({"delta": bees}),
        headers={**headers, "Content-Type": "application/x-ndjson"},
    )
    assert streamed.status_code == 201, streamed.text
    assert streamed.json()["content"] == bees
    refused = client.post(f"{address}/messages", content=b" " * (2 * 1024 * 1024 + 1), headers=headers)
    assert (refused.status_code, refused.json()["type"]) == (413, "body-too-large")
