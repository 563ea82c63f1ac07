"""Which routes are public, and whether the service conforms to its API document."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from content_support import Caller, Posts
from conversations_support import Conversations
from fastapi import FastAPI
from kpi_content.app import create_app
from kpi_content.settings import PART, ContentSettings
from kpi_shared.caller import Role
from kpi_shared.migrations import upgrade
from kpi_shared.testing.bodies import find_unexpected_responses, operations_with_body
from kpi_shared.testing.documents import find_gaps, security_of
from kpi_shared.testing.fields import fields, find_accepted_lines, find_accepted_spellings, text_fields
from kpi_shared.testing.fuzzing import fuzz
from kpi_shared.testing.postgres import create_database
from kpi_shared.testing.process import start_part
from kpi_shared.testing.rights import HEALTH, public_by_table
from kpi_shared.testing.surface import (
    differences_with_slash,
    operations,
    operations_with_effects,
    public_operations,
    reads_that_write,
    unexpected_heads,
)
from kpi_shared.tokens import TokenCodec
from pydantic import SecretStr


async def test_every_route_but_these_needs_a_token(client: httpx.AsyncClient, settings: ContentSettings) -> None:
    """Routes with an optional token look like protected ones in the API document, so each route is called."""
    document = create_app(settings).openapi()
    public = await public_operations(client, document, path={}, body={"title": "x", "content": ""})
    assert public == public_by_table(operations(document)) > HEALTH


async def make_path(posts: Posts, owner: Caller) -> dict[str, int]:
    """A post, and a conversation of the caller with a message."""
    conversations = Conversations(posts.client, posts, owner)
    address = await conversations.add()
    message = await conversations.write(address)
    return {
        "post_id": (await posts.add())["id"],
        "conversation_id": int(address.rpartition("/")[2]),
        "message_id": message["id"],
        "user_id": owner.subject.id,
    }


async def test_a_405_names_all_methods_of_the_path(client: httpx.AsyncClient) -> None:
    for path, allowed in (
        ("/posts", "GET, HEAD, POST"),
        ("/posts/1", "DELETE, GET, HEAD, PATCH, PUT"),
        ("/votes", "POST"),
        ("/conversations", "GET, HEAD, POST"),
        ("/messages", "GET, HEAD"),
        ("/conversations/1", "DELETE, GET, HEAD, PATCH"),
        ("/conversations/1/messages", "GET, HEAD, POST"),
        ("/conversations/1/messages/1", "DELETE, GET, HEAD"),
        ("/conversations/1/members", "GET, HEAD, POST"),
        ("/conversations/1/members/1", "DELETE, GET, HEAD, PATCH"),
        ("/conversations/1/read", "PUT"),
    ):
        response = await client.request("TRACE", path)
        assert (response.status_code, response.headers["Allow"]) == (405, allowed)


async def test_a_slash_at_the_end_makes_no_difference(
    client: httpx.AsyncClient, settings: ContentSettings, posts: Posts, admin: Caller
) -> None:
    document, path = create_app(settings).openapi(), await make_path(posts, admin)
    assert await differences_with_slash(client, document, path=path, headers=admin.headers) == []


async def test_head_is_answered_as_get_and_listed_with_it(
    client: httpx.AsyncClient, settings: ContentSettings, posts: Posts, admin: Caller
) -> None:
    document, path = create_app(settings).openapi(), await make_path(posts, admin)
    assert await unexpected_heads(client, document, path=path, headers=admin.headers) == []


async def test_no_get_writes(
    client: httpx.AsyncClient, app: FastAPI, settings: ContentSettings, posts: Posts, admin: Caller
) -> None:
    document, path = create_app(settings).openapi(), await make_path(posts, admin)
    assert await reads_that_write(client, app.state.database, document, path=path, headers=admin.headers) == set()
    assert operations_with_effects(document) == set()


@pytest.fixture
def environment(worker: str, secret_key: str, tmp_path: Path) -> dict[str, str]:
    """The settings of a separate process on a migrated database; no auth service is running."""
    url = create_database(f"content_process_{worker}")
    upgrade(PART, ContentSettings(database_url=SecretStr(url), paseto_secret_key=SecretStr(secret_key)))
    return {"DATABASE_URL": url, "PASETO_SECRET_KEY": secret_key, "FILES_URL": tmp_path.as_uri()}


def test_generated_requests_conform_to_the_api_document(
    environment: dict[str, str], tokens: TokenCodec, tmp_path: Path
) -> None:
    token = tokens.mint(user_id=1, username="root", role=Role.ADMIN, session_id="1", lifetime=timedelta(minutes=5))
    with start_part("kpi_content", environment, log=tmp_path / "content.log") as address:
        headers = {"Authorization": f"Bearer {token}"}
        for number in range(3):
            response = httpx.post(f"{address}/posts", json={"title": f"post {number}", "content": ""}, headers=headers)
            assert response.status_code == 201, response.text
        made = httpx.post(f"{address}/conversations", json={"title": "bees"}, headers=headers)
        assert made.status_code == 201, made.text
        # A generated cursor has the right form, but the service has not issued it.
        fuzz(
            address,
            token=token,
            folder=tmp_path,
            examples=10,
            excluded=["positive_data_acceptance"],
            # A response without an end.
            excluded_paths=["/conversations/{conversation_id}/events"],
        )
    assert "request failed" not in (tmp_path / "content.log").read_text()


async def test_numbers_have_one_spelling(
    client: httpx.AsyncClient, settings: ContentSettings, tokens: TokenCodec
) -> None:
    token = tokens.mint(user_id=1, username="root", role=Role.ADMIN, session_id="1", lifetime=timedelta(minutes=5))
    headers = {"Authorization": f"Bearer {token}"}
    integers = [field for field in fields(create_app(settings).openapi()) if field.is_integer]
    expected = {"GET /posts query limit", "GET /posts/{post_id} path post_id", "POST /votes body direction"}
    assert expected <= {str(field) for field in integers}
    accepted = {str(field): await find_accepted_spellings(client, field, headers) for field in integers}
    assert {name: values for name, values in accepted.items() if values} == {}


async def test_titles_are_one_visible_line(
    client: httpx.AsyncClient, settings: ContentSettings, tokens: TokenCodec
) -> None:
    token = tokens.mint(user_id=1, username="root", role=Role.ADMIN, session_id="1", lifetime=timedelta(minutes=5))
    # All texts of bodies, except the ones that are documented as having several lines.
    lines = [field for field in text_fields(create_app(settings).openapi()) if not field.has_several_lines]
    assert {str(field) for field in lines} >= {
        "POST /posts body title",
        "PATCH /posts/{post_id} body title",
        "POST /conversations body title",
        "PATCH /conversations/{conversation_id} body title",
        "POST /conversations/{conversation_id}/members body username",
    }
    accepted = {
        str(field): await find_accepted_lines(client, field, {"Authorization": f"Bearer {token}"}) for field in lines
    }
    assert {name: values for name, values in accepted.items() if values} == {}


async def test_a_body_of_another_type_is_unsupported(
    client: httpx.AsyncClient, settings: ContentSettings, tokens: TokenCodec
) -> None:
    token = tokens.mint(user_id=1, username="root", role=Role.ADMIN, session_id="1", lifetime=timedelta(minutes=5))
    document = create_app(settings).openapi()
    assert {
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
    } <= operations_with_body(document).keys()
    assert await find_unexpected_responses(client, document, {"Authorization": f"Bearer {token}"}) == []


def test_the_document_is_complete(settings: ContentSettings) -> None:
    document = create_app(settings).openapi()
    assert find_gaps(document) == []
    # The operations that work without a token and do more with one.
    both = [{}, {"password": []}, {"apiKey": []}]
    optional = {name for name, security in security_of(document).items() if security == both}
    assert optional == public_by_table(operations(document)) - HEALTH
    assert sorted(document["components"]["securitySchemes"]) == ["apiKey", "password"]
