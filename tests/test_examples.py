"""The documentation fills in the examples of request bodies, so each of them must work when a new user sends it."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from kpi_shared.testing.process import wait_until
from sent_mails import Mailbox
from stack import Stack, run_stack, service_settings

Json = dict[str, Any]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="this test starts a stack of its own"),
]
API = "/api/v1"
FORM = "application/x-www-form-urlencoded"
METHODS = ("post", "put", "patch", "delete")


@pytest.fixture
def new_stack(worker: str, secret_key: str, tmp_path: Path) -> Iterator[Stack]:
    """A stack without users and posts: the examples must work for its first user."""
    settings = service_settings(f"examples_{worker}", secret_key)
    settings["auth"]["WEBHOOK_ALLOWED_NETWORKS"] = "127.0.0.0/8"
    with run_stack(settings, tmp_path) as stack:
        yield stack


@dataclass
class Beginner:
    """Sends the examples one after another, as the user whom the first of them registers."""

    client: httpx.Client
    document: Json
    database: str
    content_database: str
    mailbox: Mailbox
    auth_log: Path
    account: Json = field(default_factory=dict)
    password: str = ""
    tokens: Json = field(default_factory=dict)
    post_id: int = 0
    key: Json = field(default_factory=dict)
    webhook_id: int = 0
    conversation_id: int = 0
    member_id: int = 0
    # Of rows of other lists, by the names of their parameters.
    row_ids: dict[str, int] = field(default_factory=dict)

    def send(self, path: str, method: str, **secrets: str) -> httpx.Response:
        """Send the example of an operation, with secrets that an example cannot know in place of its own."""
        operation = self.document["paths"][path][method]
        media_type, example = find_example(self.document, operation)
        body = {**example, **{name: value for name, value in secrets.items() if name in example}}
        response = self.client.request(
            method,
            path.format(
                user_id=self.member_id if "/members/" in path else self.account.get("id"),
                conversation_id=self.conversation_id,
                post_id=self.post_id,
                key_id=self.key.get("id"),
                webhook_id=self.webhook_id,
                **self.row_ids,
            ),
            headers={"Authorization": f"Bearer {self.tokens['access_token']}"} if self.tokens else {},
            **({"data": body} if media_type == FORM else {"json": body}),
        )
        assert response.is_success, (method, path, body, response.text)
        return response

    def sign_in(self) -> None:
        form = {"username": self.account["username"], "password": self.password}
        response = self.client.post(f"{API}/auth/login", data=form)
        assert response.status_code == 200, response.text
        self.tokens = response.json()

    def wait_for_code(self, page: str) -> str:
        """The code in the link to a page, in a mail to the account."""
        found: list[str] = []

        def look() -> bool:
            mails = self.mailbox.mails(self.account["email"])
            found.extend(mail.code for mail in mails if f"/{page}#code=" in mail.text)
            return bool(found)

        wait_until(look)
        return found[-1]

    def register(self, path: str) -> None:
        self.tokens = {}
        self.account = self.send(path, "post").json()
        _, example = find_example(self.document, self.document["paths"][path]["post"])
        self.password = example["password"]

    def log_in(self, path: str) -> None:
        self.tokens = {}
        self.tokens = self.send(path, "post").json()

    def write_post(self, path: str) -> None:
        self.post_id = self.send(path, "post").json()["id"]

    def add_row(self, path: str) -> None:
        """To a list ``/things``, whose rows are ``/things/{thing_id}``."""
        row = self.send(path, "post").json()
        self.row_ids |= dict.fromkeys(find_rows(self.document, path), row["id"])

    def begin_conversation(self, path: str) -> None:
        self.conversation_id = self.send(path, "post").json()["id"]

    def share(self, path: str) -> None:
        """With the account of the example, which content would know from auth's feed."""
        _, example = find_example(self.document, self.document["paths"][path]["post"])
        with psycopg.connect(self.content_database, autocommit=True) as connection:
            connection.execute("INSERT INTO authors (id, username) VALUES (4711, %s)", [example["username"]])
        self.member_id = self.send(path, "post").json()["user"]["id"]

    def make_key(self, path: str) -> None:
        self.key = self.send(path, "post").json()

    def revoke_key(self, path: str) -> None:
        self.tokens = {}
        self.send(path, "post", key=self.key["key"])
        self.sign_in()

    def bootstrap(self, path: str) -> None:
        self.tokens = {}
        events = [json.loads(line) for line in self.auth_log.read_text().splitlines()]
        [code] = [event["bootstrap_code"] for event in events if "bootstrap_code" in event]
        admin = self.send(path, "post", code=code).json()["user"]
        self.account, self.password = admin, admin["password"]
        self.sign_in()

    def make_webhook(self, path: str) -> None:
        # The host of the example has no address.
        self.webhook_id = self.send(path, "post", url="http://127.0.0.1:9/").json()["id"]

    def change_password(self, path: str) -> None:
        _, example = find_example(self.document, self.document["paths"][path]["post"])
        self.send(path, "post")
        self.password = example["new_password"]
        self.sign_in()

    def verify_email(self, path: str) -> None:
        self.send(path, "post", code=self.wait_for_code("verify-email"))

    def reset_password(self, path: str) -> None:
        _, example = find_example(self.document, self.document["paths"][path]["post"])
        self.send(path, "post", code=self.wait_for_code("reset-password"))
        self.password = example["new_password"]
        self.sign_in()

    def refresh(self, path: str) -> None:
        self.tokens = self.send(path, "post", refresh_token=self.tokens["refresh_token"]).json()

    def end_session(self, path: str) -> None:
        self.send(path, "post", token=self.tokens["refresh_token"])
        self.sign_in()

    def make_room(self) -> None:
        """Rename the account, so that the name and address of the examples are free."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("UPDATE users SET username = 'renamed', email = 'renamed@example.com'")

    def delete(self, path: str) -> None:
        self.sign_in()
        self.send(path, "delete", password=self.password)


Step = Callable[[Beginner, str], object]


def sends(method: str) -> Step:
    return lambda beginner, path: beginner.send(path, method)


# In the order in which a new user could send them.
STEPS: dict[tuple[str, str], Step] = {
    ("post", "/users"): Beginner.register,
    ("post", "/auth/login"): Beginner.log_in,
    ("post", "/posts"): Beginner.write_post,
    ("put", "/posts/{post_id}"): sends("put"),
    ("patch", "/posts/{post_id}"): sends("patch"),
    ("post", "/votes"): sends("post"),
    ("post", "/conversations"): Beginner.begin_conversation,
    ("patch", "/conversations/{conversation_id}"): sends("patch"),
    ("post", "/conversations/{conversation_id}/messages"): sends("post"),
    ("put", "/conversations/{conversation_id}/read"): sends("put"),
    ("post", "/conversations/{conversation_id}/members"): Beginner.share,
    ("patch", "/conversations/{conversation_id}/members/{user_id}"): sends("patch"),
    ("post", "/api-keys"): Beginner.make_key,
    ("patch", "/api-keys/{key_id}"): sends("patch"),
    ("post", "/api-keys/{key_id}/rotate"): sends("post"),
    ("post", "/api-keys/self/revoke"): Beginner.revoke_key,
    ("post", "/auth/verify-email"): Beginner.verify_email,
    ("post", "/auth/resend-verification"): sends("post"),
    ("post", "/auth/change-email"): sends("post"),
    ("post", "/auth/change-password"): Beginner.change_password,
    ("post", "/auth/forgot-password"): sends("post"),
    ("post", "/auth/reset-password"): Beginner.reset_password,
    ("post", "/auth/refresh"): Beginner.refresh,
    ("post", "/auth/revoke"): Beginner.end_session,
    ("post", "/auth/logout"): Beginner.end_session,
    ("patch", "/users/{user_id}"): sends("patch"),
    ("put", "/users/{user_id}"): sends("put"),
    ("post", "/auth/register"): Beginner.register,
    ("delete", "/users/{user_id}"): Beginner.delete,
    ("post", "/bootstrap"): Beginner.bootstrap,
    ("post", "/webhooks"): Beginner.make_webhook,
    ("patch", "/webhooks/{webhook_id}"): sends("patch"),
    ("post", "/webhooks/{webhook_id}/rotate-secret"): sends("post"),
    ("post", "/webhooks/{webhook_id}/replay"): sends("post"),
}
# It needs a token of another issuer.
WITHOUT_EXAMPLE = {("post", "/auth/exchange")}


def takes_example(operation: Json) -> bool:
    """Whether it has a body that is no file."""
    return bool({FORM, "application/json"} & operation.get("requestBody", {}).get("content", {}).keys())


def find_rows(document: Json, path: str) -> list[str]:
    """The parameters of the paths of the rows of a list."""
    return re.findall(rf"(?m)^{re.escape(path)}/{{(\w+)}}$", "\n".join(document["paths"]))


def find_plain_steps(document: Json, operations: set[tuple[str, str]]) -> dict[tuple[str, str], Step]:
    """Rows are added to lists and then changed. An operation of another shape needs a step above."""
    lists = [path for method, path in operations if method == "post" and find_rows(document, API + path)]
    # A row may name a row of a list before it by its id, which is 1.
    lists.sort(key=lambda path: [*document["paths"]].index(API + path))
    steps: dict[tuple[str, str], Step] = {("post", path): Beginner.add_row for path in lists}
    changes = [(method, path) for method, path in operations if method != "post" and path.rpartition("/")[0] in lists]
    return steps | {(method, path): sends(method) for method, path in changes}


def find_example(document: Json, operation: Json) -> tuple[str, Json]:
    """The media type and the example that the documentation fills in."""
    media_type, media = next(iter(operation["requestBody"]["content"].items()))
    schema = media["schema"]
    # A body that may be absent has null as its last alternative.
    (schema,) = schema.get("anyOf", [schema])[:1]
    if reference := schema.get("$ref"):
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    examples = [example["value"] for example in media.get("examples", {}).values()]
    examples += [media["example"]] if "example" in media else schema.get("examples", [])
    assert examples, f"{operation['operationId']} has no example of its body"
    return media_type, examples[0]


def read_document(client: httpx.Client) -> Json:
    """With the operations of both services: on a busy machine one may be late for the first request of the gateway."""
    found: Json = {}

    def is_whole() -> bool:
        found.update(client.get("/openapi.json").json())
        return {f"{API}/users", f"{API}/posts"} <= found["paths"].keys()

    wait_until(is_whole)
    return found


def test_every_example_works_when_it_is_sent(new_stack: Stack, tmp_path: Path) -> None:
    with httpx.Client(base_url=new_stack.gateway, timeout=30, trust_env=False) as client:
        document = read_document(client)
        with_body = {
            (method, path.removeprefix(API))
            for path, item in document["paths"].items()
            for method in METHODS
            if takes_example(item.get(method, {}))
        }
        # By the admin, whose steps are the last.
        steps = STEPS | find_plain_steps(document, with_body - WITHOUT_EXAMPLE - STEPS.keys())
        assert with_body - WITHOUT_EXAMPLE == steps.keys()
        databases = [new_stack.settings[service]["DATABASE_URL"] for service in ("auth", "content")]
        beginner = Beginner(client, document, *databases, Mailbox(new_stack.mails), tmp_path / "auth.log")
        for (_method, path), step in steps.items():
            if path == "/auth/register":
                beginner.make_room()
            step(beginner, API + path)
