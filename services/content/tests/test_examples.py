"""What the API document shows is accepted: each example of a request body, and each default where it is sent."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from content_support import Caller, Posts
from kpi_content.app import create_app
from kpi_content.settings import ContentSettings

# The post that the example of a vote names.
POST_ID = 1
BODIES = {("post", "/posts"), ("put", "/posts/{post_id}"), ("patch", "/posts/{post_id}"), ("post", "/votes")}


@pytest.fixture
def document(settings: ContentSettings) -> dict[str, Any]:
    return create_app(settings).openapi()


@pytest.fixture
async def post(posts: Posts) -> None:
    await posts.add()
    await posts.execute("UPDATE posts SET id = :id", id=POST_ID)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def body_schema(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    [content] = operation["requestBody"]["content"].values()
    schema: dict[str, Any] = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    return schema


@pytest.mark.usefixtures("post")
async def test_every_example_of_a_body_works_when_it_is_sent(
    client: httpx.AsyncClient, anna: Caller, document: dict[str, Any]
) -> None:
    sent = set()
    for method, path, operation in operations(document):
        if "requestBody" in operation:
            for example in body_schema(document, operation)["examples"]:
                address = path.format(post_id=POST_ID)
                response = await client.request(method, address, json=example, headers=anna.headers)
                assert response.is_success, (method, path, response.text)
                sent.add((method, path))
    assert sent == BODIES


@pytest.mark.usefixtures("post")
async def test_every_default_is_accepted_where_it_is_sent(
    client: httpx.AsyncClient, anna: Caller, document: dict[str, Any]
) -> None:
    sent = set()
    for method, path, operation in operations(document):
        address = path.format(post_id=POST_ID)
        for parameter in operation.get("parameters", []):
            if (default := parameter["schema"].get("default")) is not None:
                query = {parameter["name"]: default}
                with_default, without = await client.get(address, params=query), await client.get(address)
                assert (with_default.status_code, with_default.content) == (200, without.content), parameter
                sent.add(parameter["name"])
        if "requestBody" in operation:
            schema = body_schema(document, operation)
            defaults = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
            body = schema["examples"][0] | defaults
            response = await client.request(method, address, json=body, headers=anna.headers)
            assert response.is_success, (method, path, response.text)
            sent |= defaults.keys()
    assert sent == {"limit", "skip", "sort", "total", "mine", "published"}
