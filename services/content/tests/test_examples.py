"""What the API document shows is accepted: each example of a request body, and each default where it is sent."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from content_support import Caller, Posts
from conversations_support import Conversations
from kpi_content.app import create_app
from kpi_content.messages.upload_errors import UploadError
from kpi_content.settings import ContentSettings

# The post that the example of a vote names.
POST_ID = 1
BODIES = {
    ("post", "/posts"),
    ("put", "/posts/{post_id}"),
    ("patch", "/posts/{post_id}"),
    ("post", "/votes"),
    ("post", "/conversations"),
    ("patch", "/conversations/{conversation_id}"),
    ("post", "/conversations/{conversation_id}/members"),
    ("patch", "/conversations/{conversation_id}/members/{user_id}"),
    ("post", "/conversations/{conversation_id}/messages"),
    ("put", "/conversations/{conversation_id}/read"),
}


@pytest.fixture
def document(settings: ContentSettings) -> dict[str, Any]:
    return create_app(settings).openapi()


@pytest.fixture
async def path(posts: Posts, conversations: Conversations) -> dict[str, int]:
    """A post, and a conversation with a message and a member, that the examples are sent to."""
    await posts.add()
    await posts.execute("UPDATE posts SET id = :id", id=POST_ID)
    address = await conversations.add()
    await conversations.write(address)
    await posts.execute("INSERT INTO authors (id, username) VALUES (2, 'reader'), (3, 'bert'), (4, 'member')")
    added = {"user_id": 4, "role": "writer"}
    response = await conversations.client.post(f"{address}/members", json=added, headers=conversations.owner.headers)
    assert response.status_code == 201, response.text
    return {"post_id": POST_ID, "conversation_id": int(address.rpartition("/")[2]), "user_id": 4, "message_id": 1}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def body_schema(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    content = operation["requestBody"]["content"]["application/json"]
    schema: dict[str, Any] = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    return schema


def required_in_query(operation: dict[str, Any]) -> list[str]:
    return [each["name"] for each in operation["parameters"] if each["in"] == "query" and each["required"]]


async def test_every_example_of_a_body_works_when_it_is_sent(
    client: httpx.AsyncClient, anna: Caller, document: dict[str, Any], path: dict[str, int]
) -> None:
    sent = set()
    for method, template, operation in operations(document):
        if "requestBody" in operation:
            for example in body_schema(document, operation)["examples"]:
                address = template.format_map(path)
                response = await client.request(method, address, json=example, headers=anna.headers)
                assert response.is_success, (method, template, response.text)
                sent.add((method, template))
    assert sent == BODIES


UPLOADED = {
    "application/x-ndjson": '{"delta": "They do: "}\n{"delta": "in circles."}\n',
    "text/event-stream": "data: They do: \n\ndata: in circles.\n\ndata: [DONE]\n\n",
}


async def test_every_streamed_body_works_with_its_query_only(
    client: httpx.AsyncClient, anna: Caller, document: dict[str, Any], path: dict[str, int]
) -> None:
    sent = set()
    for method, template, operation in operations(document):
        for media_type, described in operation.get("requestBody", {}).get("content", {}).items():
            if (query := described.get("x-only-with-query")) is not None:
                name, _, value = query.partition("=")
                assert name in {each["name"] for each in operation["parameters"]}
                address, headers = template.format_map(path), anna.headers | {"Content-Type": media_type}
                body = {"content": UPLOADED[media_type], "headers": headers}
                made = await client.request(method, address, params={name: value, "role": "system"}, **body)
                assert made.status_code == 201, made.text
                assert (made.json()["role"], made.json()["content"]) == ("system", "They do: in circles.")
                assert (await client.request(method, address, **body)).status_code == 415
                sent.add(media_type)
    assert sent == UPLOADED.keys()


def test_the_refusals_of_uploads_are_described(document: dict[str, Any]) -> None:
    responses = document["paths"]["/conversations/{conversation_id}/messages"]["post"]["responses"]
    assert {"408", "409", "413", "415", "422", "503"} <= responses.keys()
    for error in UploadError.__subclasses__():
        assert error.title in responses[str(int(error.status))]["description"]


async def test_every_default_is_accepted_where_it_is_sent(
    client: httpx.AsyncClient, anna: Caller, document: dict[str, Any], path: dict[str, int]
) -> None:
    sent = set()
    for method, template, operation in operations(document):
        address = template.format_map(path)
        for parameter in operation.get("parameters", []):
            if (default := parameter["schema"].get("default")) is not None:
                query = dict.fromkeys(required_in_query(operation), "text")
                without = await client.get(address, params=query, headers=anna.headers)
                query[parameter["name"]] = default
                with_default = await client.get(address, params=query, headers=anna.headers)
                assert (with_default.status_code, with_default.content) == (200, without.content), parameter
                sent.add(parameter["name"])
        if "requestBody" in operation:
            schema = body_schema(document, operation)
            defaults = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
            body = schema["examples"][0] | defaults
            response = await client.request(method, address, json=body, headers=anna.headers)
            assert response.is_success, (method, template, response.text)
            sent |= defaults.keys()
    assert sent == {"limit", "skip", "sort", "total", "mine", "published", "role"}
