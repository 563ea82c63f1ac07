"""What the API document shows is accepted: each example of a request body, and each default where it is sent."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from content_support import Caller, Posts
from conversations_support import Conversations
from fastapi import FastAPI
from kpi_content.app import create_app
from kpi_content.messages.upload_errors import UploadError
from kpi_content.settings import ContentSettings
from kpi_shared.testing.database import restart_ids
from kpi_shared.testing.examples import Examples
from kpi_shared.testing.surface import Ids

# Those that must be among them. Further ones need no line here.
BODIES = {
    "POST /posts",
    "PUT /posts/{post_id}",
    "PATCH /posts/{post_id}",
    "POST /votes",
    "POST /conversations",
    "PATCH /conversations/{conversation_id}",
    "POST /conversations/{conversation_id}/members",
    "PATCH /conversations/{conversation_id}/members/{user_id}",
    "POST /conversations/{conversation_id}/messages",
    "PUT /conversations/{conversation_id}/read",
}


@pytest.fixture
def document(settings: ContentSettings) -> dict[str, Any]:
    return create_app(settings).openapi()


@pytest.fixture
async def path(app: FastAPI, posts: Posts, conversations: Conversations) -> dict[str, int]:
    """A post, and a conversation with a message and a member, that the examples are sent to.

    An example names a row of another table by the id 1, which is that of the first row.
    """
    async with app.state.database.writing() as connection:
        await restart_ids(connection)
    post = await posts.add()
    address = await conversations.add()
    await conversations.write(address)
    await posts.execute("INSERT INTO authors (id, username) VALUES (2, 'reader'), (3, 'bert'), (4, 'member')")
    added = {"user_id": 4, "role": "writer"}
    response = await conversations.client.post(f"{address}/members", json=added, headers=conversations.owner.headers)
    assert response.status_code == 201, response.text
    return {"post_id": post["id"], "conversation_id": int(address.rpartition("/")[2]), "user_id": 4, "message_id": 1}


@pytest.fixture
def examples(
    client: httpx.AsyncClient, document: dict[str, Any], path: dict[str, int], anna: Caller, admin: Caller
) -> Examples:
    return Examples(client, document, path, anna.headers, admin.headers)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def required_in_query(operation: dict[str, Any]) -> list[str]:
    return [each["name"] for each in operation["parameters"] if each["in"] == "query" and each["required"]]


async def test_every_example_of_a_body_works_when_it_is_sent(examples: Examples) -> None:
    sent = set()
    for operation in examples.operations():
        for example in operation.examples:
            await examples.send(operation, example)
            sent.add(str(operation))
    assert sent >= BODIES


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


async def test_every_default_of_a_parameter_is_accepted_when_it_is_sent(
    client: httpx.AsyncClient, examples: Examples, document: dict[str, Any], path: dict[str, int]
) -> None:
    sent = set()
    for method, template, operation in operations(document):
        headers = examples.headers_for(f"{method.upper()} {template}")
        for parameter in operation.get("parameters", []):
            if method == "get" and (default := parameter["schema"].get("default")) is not None:
                query = dict.fromkeys(required_in_query(operation), "text")
                address = template.format_map(Ids(path))
                without = await client.get(address, params=query, headers=headers)
                query[parameter["name"]] = default
                with_default = await client.get(address, params=query, headers=headers)
                assert (with_default.status_code, with_default.content) == (200, without.content), parameter
                sent.add(parameter["name"])
    assert sent >= {"limit", "skip", "sort", "total", "mine"}


async def test_every_default_of_a_body_is_accepted_when_it_is_sent(examples: Examples) -> None:
    sent = set()
    for operation in examples.operations():
        await examples.send(operation, operation.examples[0] | operation.defaults)
        sent |= operation.defaults.keys()
    assert sent >= {"published", "role"}
