"""Every route of conversations by everybody. A route without a row fails, so that it gets its rights deliberately."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest
from content_support import Caller, caller
from conversations_support import Conversations
from kpi_content.app import create_app
from kpi_content.settings import ContentSettings
from kpi_shared.caller import Role, Scope, expand_scopes, key_session_id
from kpi_shared.testing.surface import operations
from kpi_shared.tokens import TokenCodec

OWNER, WRITER, READER, OTHER, REMOVED, STRANGER, ADMIN = 101, 102, 103, 104, 105, 106, 107
MEMBERS = {WRITER: "writer", READER: "reader", OTHER: "reader", REMOVED: "writer"}
SECRET = "zebra"

# What a caller gets: "yes", or the slug of the refusal. The keys are the owner's.
CALLERS = (
    "owner",
    "writer",
    "reader",
    "removed",
    "stranger",
    "admin",
    "no token",
    *(f"{scope} key" for scope in Scope),
)
_GONE, _NO_TOKEN, _KEY = "conversation-not-found", "unauthenticated", "insufficient-scope"
_STRANGERS = (_GONE, _GONE, _GONE, _NO_TOKEN)
READ = ("yes", "yes", "yes", *_STRANGERS, "yes", "yes", "yes")
WRITE = ("yes", "yes", "read-only-member", *_STRANGERS, _KEY, "yes", "yes")
OWN = ("yes", "not-an-owner", "not-an-owner", *_STRANGERS, _KEY, "yes", "yes")
MARK = ("yes", "yes", "yes", *_STRANGERS, _KEY, "yes", "yes")
DELETE_MESSAGE = ("yes", "not-your-message", "not-your-message", *_STRANGERS, _KEY, "yes", "yes")
# For everybody with a token: they see their own.
LIST = (*("yes",) * 6, _NO_TOKEN, "yes", "yes", "yes")
CREATE = (*("yes",) * 6, _NO_TOKEN, _KEY, "yes", "yes")

_CONVERSATION = "/conversations/{conversation_id}"


class Row(NamedTuple):
    rights: tuple[str, ...]
    body: Any = None


MATRIX = {
    "GET /conversations": Row(LIST),
    "POST /conversations": Row(CREATE, {"title": "another"}),
    f"GET {_CONVERSATION}": Row(READ),
    f"PATCH {_CONVERSATION}": Row(OWN, {"title": "another"}),
    f"DELETE {_CONVERSATION}": Row(OWN),
    f"GET {_CONVERSATION}/members": Row(READ),
    f"POST {_CONVERSATION}/members": Row(OWN, {"user_id": STRANGER, "role": "reader"}),
    f"GET {_CONVERSATION}/members/{{user_id}}": Row(READ),
    f"PATCH {_CONVERSATION}/members/{{user_id}}": Row(OWN, {"role": "writer"}),
    f"DELETE {_CONVERSATION}/members/{{user_id}}": Row(OWN),
    f"GET {_CONVERSATION}/messages": Row(READ),
    f"POST {_CONVERSATION}/messages": Row(WRITE, {"content": "text"}),
    f"GET {_CONVERSATION}/messages/{{message_id}}": Row(READ),
    f"DELETE {_CONVERSATION}/messages/{{message_id}}": Row(DELETE_MESSAGE),
    f"PUT {_CONVERSATION}/read": Row(MARK, {"number": 0}),
    "GET /messages": Row(LIST),
}
STREAM = Row(READ)
# The same path as a message in one piece, but another operation, which is not in the document.
UPLOAD = Row(WRITE)


@pytest.fixture
def callers(tokens: TokenCodec) -> dict[str, Caller]:
    def of_key(scope: Scope) -> Caller:
        token = tokens.mint(
            user_id=OWNER,
            username="owner",
            role=Role.ADMIN if scope is Scope.ADMIN else Role.USER,
            session_id=key_session_id(1),
            lifetime=timedelta(minutes=1),
            scopes=expand_scopes([scope]),
        )
        return Caller(tokens.verify(token), {"Authorization": f"Bearer {token}"})

    people = {"owner": OWNER, "writer": WRITER, "reader": READER, "removed": REMOVED, "stranger": STRANGER}
    found = {name: caller(tokens, user_id, name) for name, user_id in people.items()}
    found["admin"] = caller(tokens, ADMIN, "admin", role=Role.ADMIN)
    return found | {f"{scope} key": of_key(scope) for scope in Scope}


Prepare = Callable[[], Any]


@pytest.fixture
async def prepare(
    client: httpx.AsyncClient, conversations: Conversations, callers: dict[str, Caller], tokens: TokenCodec
) -> Prepare:
    """Makes a new conversation with members and a message, and returns what its paths are filled with."""
    await conversations.know(*callers.values(), caller(tokens, OTHER, "other"))
    conversations.owner = callers["owner"]

    async def add() -> dict[str, Any]:
        address = await conversations.add(SECRET)
        for member, role in MEMBERS.items():
            body = {"user_id": member, "role": role}
            added = await client.post(f"{address}/members", json=body, headers=conversations.owner.headers)
            assert added.status_code == 201, added.text
        message = await conversations.write(address, SECRET)
        await conversations.delete(f"{address}/members/{REMOVED}")
        conversation_id = int(address.rpartition("/")[2])
        return {"conversation_id": conversation_id, "message_id": message["id"], "user_id": OTHER}

    return add


def result_of(response: httpx.Response) -> str:
    assert response.status_code < 500, response.text
    if response.headers.get("content-type") == "application/problem+json" and response.content:
        return str(response.json()["type"])
    return "yes" if response.is_success else str(response.status_code)


def test_every_route_has_a_row(settings: ContentSettings) -> None:
    routes = {
        name for name in operations(create_app(settings).openapi()) if "conversation" in name or "message" in name
    }
    assert routes == {*MATRIX, f"GET {_CONVERSATION}/events"}


@pytest.mark.parametrize("operation", MATRIX)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_everybody_gets_what_the_matrix_says(
    client: httpx.AsyncClient, callers: dict[str, Caller], prepare: Prepare, operation: str, slash: str
) -> None:
    row = MATRIX[operation]
    method, _, path = operation.partition(" ")
    params = {"search": SECRET} if operation == "GET /messages" else {}
    found = {}
    for name in CALLERS:
        filled = path.format_map(await prepare()) + slash
        headers = callers[name].headers if name != "no token" else {}
        response = await client.request(method, filled, json=row.body, params=params, headers=headers)
        found[name] = result_of(response)
        is_member = name in {"owner", "writer", "reader"} or name.endswith("key")
        assert is_member or SECRET not in response.text
    assert found == dict(zip(CALLERS, row.rights, strict=True))


@pytest.mark.parametrize("slash", ["", "/"])
async def test_everybody_gets_the_same_for_a_stream(
    client: httpx.AsyncClient, callers: dict[str, Caller], prepare: Prepare, slash: str
) -> None:
    """It has no end, so it is asked for its head, which comes after the same checks."""
    statuses = {"yes": 200, _GONE: 404, _NO_TOKEN: 401}
    found = {}
    for name in CALLERS:
        path = f"{_CONVERSATION}/events{slash}".format_map(await prepare())
        headers = callers[name].headers if name != "no token" else {}
        found[name] = (await client.head(path, headers=headers)).status_code
    assert found == {name: statuses[right] for name, right in zip(CALLERS, STREAM.rights, strict=True)}


async def test_everybody_gets_the_same_for_a_streamed_message(
    client: httpx.AsyncClient, callers: dict[str, Caller], prepare: Prepare
) -> None:
    found = {}
    for name in CALLERS:
        path = f"{_CONVERSATION}/messages".format_map(await prepare())
        headers = callers[name].headers if name != "no token" else {}
        headers = headers | {"Content-Type": "application/x-ndjson"}
        body = b'{"delta": "text"}\n'
        response = await client.post(path, content=body, params={"stream": "true"}, headers=headers)
        found[name] = result_of(response)
    assert found == dict(zip(CALLERS, UPLOAD.rights, strict=True))
