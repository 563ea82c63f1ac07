"""What happens in auth is known to both contents: two replicas of each behind a gateway, all real processes."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from kpi_shared.testing.process import PartProcess, clean_environment, free_port, launch_part, run_command, wait_until
from stack import PASSWORD, Person, join, service_settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests run replicas of their own"),
]


@dataclass(frozen=True)
class Platform:
    client: httpx.Client
    contents: tuple[httpx.Client, httpx.Client]
    auths: tuple[PartProcess, PartProcess]
    settings: dict[str, dict[str, str]]
    admin: Person

    def statuses(self, headers: dict[str, str]) -> list[int]:
        """What each content says to a read with these header fields."""
        return [content.get("/posts", headers=headers).status_code for content in self.contents]

    def add_post(self, person: Person, title: str = "A title") -> dict[str, Any]:
        response = self.client.post("/api/v1/posts", json={"title": title, "content": ""}, headers=person.headers)
        assert response.status_code == 201, response.text
        post: dict[str, Any] = response.json()
        return post

    def owners(self, post: dict[str, Any]) -> list[dict[str, Any]]:
        """The owner of the post as each content shows it, alone and in a list."""
        found = [content.get(f"/posts/{post['id']}").json()["owner"] for content in self.contents]
        listed = [content.get("/posts?limit=100").json()["items"] for content in self.contents]
        return found + [each["owner"] for items in listed for each in items if each["id"] == post["id"]]

    def refresh(self, person: Person) -> dict[str, str]:
        response = self.client.post("/api/v1/auth/refresh", json={"refresh_token": person.refresh_token})
        assert response.status_code == 200, response.text
        return {"Authorization": f"Bearer {response.json()['access_token']}"}

    def change(self, person: Person, **changes: object) -> None:
        address = f"/api/v1/users/{person.id}"
        response = self.client.patch(address, json=changes, headers=self.admin.headers)
        assert response.status_code == 200, response.text


@pytest.fixture(scope="module")
def platform(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("revocation")
    settings, feed_key, internal_key = service_settings(f"revocation_{worker}", secret_key), *_make_keys()
    ports = (free_port(), free_port())
    settings["auth"] |= {"FEED_KEY": feed_key, "INTERNAL_KEY": internal_key, "AUTH_SECRET_KEY": secrets.token_hex(32)}
    internal = {"AUTH_INTERNAL_URL": ",".join(f"http://127.0.0.1:{port}" for port in ports)}
    settings["content"] |= {"FEED_KEY": feed_key, **internal}
    admin = {"username": "root", "password": PASSWORD, "role": "admin"}
    run_command("kpi_auth", "create-user", settings=settings["auth"], given=json.dumps(admin))
    with ExitStack() as stack:

        def start(package: str, name: str, given: dict[str, str]) -> PartProcess:
            return stack.enter_context(launch_part(package, given, log=folder / f"{name}.log", is_patient=False))

        auths = [start("kpi_auth", f"auth{port}", {**settings["auth"], "INTERNAL_PORT": str(port)}) for port in ports]
        contents = [start("kpi_content", f"content{number}", settings["content"]) for number in range(2)]
        given = {
            "AUTH_URL": ",".join(auth.address for auth in auths),
            "CONTENT_URL": ",".join(content.address for content in contents),
            "INTERNAL_KEY": internal_key,
            "RATE_LIMIT_ENABLED": "false",
            **internal,
        }
        gateway = start("kpi_gateway", "gateway", given)
        first, second = (stack.enter_context(httpx.Client(base_url=it.address, timeout=30)) for it in contents)
        client = stack.enter_context(httpx.Client(base_url=gateway.address, timeout=30))
        for content in (first, second):
            wait_until(lambda content=content: _is_followed(content))  # type: ignore[misc]
        yield Platform(client, (first, second), (auths[0], auths[1]), settings, _sign_in(client, "root"))


def _make_keys() -> tuple[str, str]:
    return secrets.token_hex(32), secrets.token_hex(32)


def _is_followed(content: httpx.Client) -> bool:
    ready = content.get("/health/ready")
    return ready.status_code == 200 and ready.json()["checks"]["feed"] == "ok"


def _sign_in(client: httpx.Client, username: str) -> Person:
    tokens = client.post("/api/v1/auth/login/json", json={"username": username, "password": PASSWORD}).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    found = client.get("/api/v1/auth/me", headers=headers).json()
    return Person(found["id"], username, "", tokens["access_token"], tokens["refresh_token"])


@pytest.fixture
def person(platform: Platform) -> Person:
    return join(platform.client)


def is_refused_everywhere(platform: Platform, headers: dict[str, str]) -> Callable[[], bool]:
    return lambda: platform.statuses(headers) == [401, 401]


def test_who_has_logged_out_is_refused_everywhere(platform: Platform, person: Person) -> None:
    other = _sign_in(platform.client, person.username)
    assert platform.statuses(person.headers) == [200, 200]
    assert platform.client.post("/api/v1/auth/logout", headers=person.headers).status_code == 204
    wait_until(is_refused_everywhere(platform, person.headers))
    for content in platform.contents:
        for method, path in (("GET", "/posts"), ("POST", "/posts")):
            refused = content.request(method, path, json={"title": "x", "content": ""}, headers=person.headers)
            assert refused.status_code == 401
            assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    assert platform.statuses(other.headers) == [200, 200]


def test_a_demoted_admin_deletes_no_post_of_others(platform: Platform, person: Person) -> None:
    admin = join(platform.client)
    platform.change(admin, role="admin")
    admin = _sign_in(platform.client, admin.username)
    first, second = (platform.add_post(person) for _ in range(2))
    deleted = platform.client.delete(f"/api/v1/posts/{first['id']}", headers=admin.headers)
    assert deleted.status_code == 204
    platform.change(admin, role="user")
    wait_until(is_refused_everywhere(platform, admin.headers))
    # A change of the role also ends the sessions.
    again = _sign_in(platform.client, admin.username)
    for headers, status in ((admin.headers, 401), (again.headers, 403)):
        for content in platform.contents:
            assert content.delete(f"/posts/{second['id']}", headers=headers).status_code == status


def test_a_new_name_is_in_the_next_token_and_on_old_posts(platform: Platform, person: Person) -> None:
    post, name = platform.add_post(person), f"r{secrets.token_hex(8)}"
    renamed = platform.client.patch(f"/api/v1/users/{person.id}", json={"username": name}, headers=person.headers)
    assert renamed.status_code == 200, renamed.text
    shown = {"id": person.id, "username": name, "deleted": False}
    wait_until(lambda: platform.owners(post) == [shown] * 4)
    wait_until(is_refused_everywhere(platform, person.headers))
    headers = platform.refresh(person)
    assert platform.statuses(headers) == [200, 200]
    made = platform.client.post("/api/v1/posts", json={"title": "Under a new name", "content": ""}, headers=headers)
    assert made.json()["owner"] == shown


def test_a_deleted_account_is_refused_and_shown_without_a_name_until_it_is_restored(
    platform: Platform, person: Person
) -> None:
    post = platform.add_post(person)
    address = f"/api/v1/users/{person.id}"
    assert platform.client.delete(address, headers=platform.admin.headers).status_code == 204
    wait_until(lambda: platform.owners(post) == [{"id": person.id, "username": None, "deleted": True}] * 4)
    wait_until(is_refused_everywhere(platform, person.headers))
    restored = platform.client.post(f"{address}/restore", headers=platform.admin.headers)
    assert restored.status_code == 200, restored.text
    shown = {"id": person.id, "username": person.username, "deleted": False}
    wait_until(lambda: platform.owners(post) == [shown] * 4)
    # The token of before stays refused, and a new one is accepted.
    assert platform.statuses(person.headers) == [401, 401]
    assert platform.statuses(_sign_in(platform.client, person.username).headers) == [200, 200]


def test_a_deactivated_account_is_refused(platform: Platform, person: Person) -> None:
    platform.change(person, is_active=False)
    wait_until(is_refused_everywhere(platform, person.headers))


def test_the_token_of_an_api_key_ends_with_the_key(platform: Platform, person: Person) -> None:
    made = _make_key(platform, person)
    key = {"X-API-Key": made["key"]}
    headers = _exchange(platform, made)
    assert platform.statuses(headers) == [200, 200]
    assert platform.client.get("/api/v1/posts", headers=key).status_code == 200
    assert platform.client.delete(f"/api/v1/api-keys/{made['id']}", headers=person.headers).status_code == 204
    wait_until(is_refused_everywhere(platform, headers))
    assert platform.statuses(person.headers) == [200, 200]
    refused = platform.client.get("/api/v1/posts", headers=key)
    assert (refused.status_code, refused.json()["type"]) == (401, "invalid-api-key")


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 201)])
def test_an_api_key_works_on_when_its_owner_has_changed(
    platform: Platform, person: Person, method: str, status: int
) -> None:
    made = _make_key(platform, person)
    key = {"X-API-Key": made["key"]}
    for change in ({"username": f"k{secrets.token_hex(8)}"}, {"role": "admin"}, {"role": "user"}):
        assert platform.client.get("/api/v1/posts", headers=key).status_code == 200
        # Of the same version as the token that the gateway has.
        headers = _exchange(platform, made)
        platform.change(person, **change)
        wait_until(is_refused_everywhere(platform, headers))
        body = {"title": "By a program", "content": ""}
        response = platform.client.request(method, "/api/v1/posts", json=body, headers=key)
        assert response.status_code == status, response.text


def _make_key(platform: Platform, person: Person) -> dict[str, Any]:
    body = {"name": "a program", "scopes": "write"}
    response = platform.client.post("/api/v1/api-keys", json=body, headers=person.headers)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def _exchange(platform: Platform, made: dict[str, Any]) -> dict[str, str]:
    """A token for the key, as the gateway sends it to a service."""
    exchange = f"{platform.settings['content']['AUTH_INTERNAL_URL'].partition(',')[0]}/internal/api-keys/exchange"
    internal = {"Authorization": f"Bearer {platform.settings['auth']['INTERNAL_KEY']}"}
    exchanged = httpx.post(exchange, json={"key": made["key"]}, headers=internal)
    assert exchanged.status_code == 200, exchanged.text
    return {"Authorization": f"Bearer {exchanged.json()['access_token']}"}


def test_a_suspended_auth_delays_nothing_for_long(platform: Platform, person: Person) -> None:
    """The contents follow one auth; while it stands still they follow the other."""
    for auth, other in (platform.auths, platform.auths[::-1]):
        signed_in = _sign_in(platform.client, person.username)
        with auth.suspend():
            logged_out = httpx.post(f"{other.address}/auth/logout", headers=signed_in.headers, timeout=30)
            assert logged_out.status_code == 204
            wait_until(is_refused_everywhere(platform, signed_in.headers))
            assert platform.statuses(platform.admin.headers) == [200, 200]


def test_the_command_builds_the_authors_anew(platform: Platform, person: Person) -> None:
    post = platform.add_post(person)
    before = platform.owners(post)

    def run(*words: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "kpi_cli", "events", *words, "--json"]
        environment = clean_environment(platform.settings["content"])
        checkout = Path(__file__).parent.parent
        result = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    rebuilt = run("rebuild", "content")
    assert rebuilt["accounts"] >= 2
    assert platform.owners(post) == before
    status = run("status")["content"]
    assert status["cursor"] >= rebuilt["cursor"]
    assert status["authors"] >= rebuilt["accounts"]
