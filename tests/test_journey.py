"""Users register, sign in, post, read, search and vote, through the gateway."""

import uuid

import httpx
import pytest
from sent_mails import Mailbox
from stack import PASSWORD, Person, join

pytestmark = pytest.mark.e2e
PREFIXES = ("/api/v1", "/api", "")


def write(client: httpx.Client, person: Person, **fields: object) -> dict[str, object]:
    body = {"title": "A title", "content": "Some content", **fields}
    response = client.post("/api/v1/posts", json=body, headers=person.headers)
    assert response.status_code == 201, response.text
    post: dict[str, object] = response.json()
    return post


def test_two_users_post_vote_search_edit_and_delete(client: httpx.Client) -> None:
    anna, ben = join(client), join(client)
    word = f"w{uuid.uuid4().hex}"
    post = write(client, anna, title=f"About {word}")
    assert post["owner"] == {"id": anna.id, "username": anna.username, "deleted": False}

    vote = {"post_id": post["id"], "direction": 1}
    for person, count in ((anna, 1), (ben, 2), (ben, 2)):
        assert client.post("/api/v1/votes", json=vote, headers=person.headers).json()["votes"] == count

    found = client.get("/api/v1/posts", params={"search": word}).json()["items"]
    assert [(item["id"], item["votes"]) for item in found] == [(post["id"], 2)]

    taken_back = client.post("/api/v1/votes", json={**vote, "direction": 0}, headers=ben.headers)
    assert taken_back.json()["votes"] == 1

    path = f"/api/v1/posts/{post['id']}"
    assert client.delete(path, headers=ben.headers).status_code == 403
    assert client.patch(path, json={"published": False}, headers=anna.headers).status_code == 200
    assert client.get(path, headers=ben.headers).status_code == 404
    assert client.get(path, headers=anna.headers).status_code == 200
    assert client.delete(path, headers=anna.headers).status_code == 204
    assert client.get(path, headers=anna.headers).status_code == 404


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_three_address_forms(client: httpx.Client, prefix: str) -> None:
    person = join(client, prefix)
    assert client.get(f"{prefix}/auth/me", headers=person.headers).json()["email"] == person.email
    made = client.post(f"{prefix}/posts", json={"title": "T", "content": ""}, headers=person.headers)
    assert made.status_code == 201
    # The address in the response can be used as it is.
    assert client.get(made.headers["location"]).json()["id"] == made.json()["id"]


def test_pages_follow_each_other_through_the_gateway(client: httpx.Client, person: Person) -> None:
    made = [write(client, person, title=f"Number {n}")["id"] for n in range(5)]
    seen: list[object] = []
    cursor = None
    while len(seen) < 5:
        params = {"limit": 2, "mine": True} | ({"cursor": cursor} if cursor else {})
        page = client.get("/api/v1/posts", params=params, headers=person.headers).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert seen == made[::-1]
    assert cursor is None


def test_a_request_id_is_kept_on_the_whole_path(client: httpx.Client, person: Person) -> None:
    response = client.get("/api/v1/auth/me", headers={**person.headers, "X-Request-ID": "walk-the-line-1"})
    assert response.headers.get_list("x-request-id") == ["walk-the-line-1"]
    refused = client.get("/api/v1/auth/me", headers={"X-Request-ID": "walk-the-line-2"})
    assert refused.json()["instance"] == "walk-the-line-2"
    assert float(response.headers["x-response-time"]) > 0


def test_sign_in_by_form_and_by_json(client: httpx.Client, person: Person, mailbox: Mailbox) -> None:
    verified = client.post("/api/v1/auth/verify-email", json={"code": mailbox.wait_for(person.email).code})
    assert verified.is_success, verified.text
    for body in (
        {"data": {"username": person.email, "password": PASSWORD}},
        {"json": {"email": person.email.upper(), "password": PASSWORD}},
        {"json": {"username": person.username, "password": PASSWORD}},
    ):
        response = client.post("/api/v1/auth/login", **body)  # type: ignore[arg-type]
        assert response.json()["username"] == person.username
        assert response.json()["token_type"] == "bearer"


def test_one_document_describes_every_part(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert {"/api/v1/users", "/api/v1/auth/login", "/api/v1/posts", "/api/v1/votes"} <= set(document["paths"])


def test_health_names_each_upstream(client: httpx.Client) -> None:
    checks = client.get("/health/ready").json()["checks"]
    assert {"auth", "content"} <= checks.keys()
    assert set(checks.values()) == {"ok"}
