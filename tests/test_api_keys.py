"""API keys through two gateways with two replicas of auth behind them: real processes."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from kpi_shared.testing.process import free_port, launch_part, run_command, start_part, wait_until
from stack import PASSWORD, Person, join, service_settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests run gateways of their own"),
]

FIELDS = ("X-API-Key", "Octopus-API-Key", "Authorization")
# The promise: a key is refused everywhere this long after its end.
PROMISED_SECONDS = 5.0
WRONG_KEYS = 20
# RFC 5737: the tests have an address each, so that none of them counts against another.
_addresses = (f"198.51.100.{number}" for number in count(1))


@dataclass(frozen=True)
class Platform:
    gateways: tuple[httpx.Client, ...]
    settings: dict[str, str]

    @property
    def client(self) -> httpx.Client:
        return self.gateways[0]

    def create(self, person: Person, **members: object) -> dict[str, object]:
        body = {"name": "a program", "scopes": "write", **members}
        response = self.client.post("/api/v1/api-keys", json=body, headers=person.headers)
        assert response.status_code == 201, response.text
        return dict(response.json())


def header(key: object, field: str = "X-API-Key") -> dict[str, str]:
    return {field: f"Bearer {key}" if field == "Authorization" else str(key)}


@pytest.fixture(scope="module")
def platform(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("keys")
    services = service_settings(f"keys_{worker}", secret_key)
    internal_key = secrets.token_hex(32)
    services["auth"] |= {"INTERNAL_KEY": internal_key, "AUTH_SECRET_KEY": secrets.token_hex(32)}
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        auths = [
            stack.enter_context(
                start_part("kpi_auth", {**services["auth"], "INTERNAL_PORT": str(port)}, log=folder / f"auth{port}.log")
            )
            for port in ports
        ]
        content = stack.enter_context(start_part("kpi_content", services["content"], log=folder / "content.log"))
        settings = {
            "AUTH_URL": ",".join(auths),
            "CONTENT_URL": content,
            "AUTH_INTERNAL_URL": ",".join(f"http://127.0.0.1:{port}" for port in ports),
            "INTERNAL_KEY": internal_key,
            "TRUSTED_PROXIES": "127.0.0.0/8",
            "RATE_LIMIT_REQUESTS": "100000",
            "RATE_LIMIT_POLICIES": '{"login": {"requests": 1000}, "registration": {"requests": 1000}}',
        }
        gateways = [
            stack.enter_context(start_part("kpi_gateway", settings, log=folder / f"gateway{number}.log"))
            for number in range(2)
        ]
        clients = [stack.enter_context(httpx.Client(base_url=address, timeout=30)) for address in gateways]
        yield Platform(tuple(clients), {**services["auth"], "FOLDER": str(folder)})


@pytest.fixture(autouse=True)
def own_address(platform: Platform) -> None:
    address = next(_addresses)
    for client in platform.gateways:
        client.headers["X-Forwarded-For"] = address


@pytest.fixture
def person(platform: Platform) -> Person:
    return join(platform.client)


@pytest.mark.parametrize("field", FIELDS)
def test_a_key_works_in_each_header_field(platform: Platform, person: Person, field: str) -> None:
    key = platform.create(person)["key"]
    for client in platform.gateways:
        response = client.get("/api/v1/auth/me", headers=header(key, field))
        assert response.status_code == 200, response.text
        assert response.json()["username"] == person.username
    created = platform.client.post(
        "/posts/", json={"title": "By a program", "content": "x"}, headers=header(key, field)
    )
    assert created.status_code == 201, created.text


def test_scopes_are_those_of_the_key(platform: Platform, person: Person) -> None:
    key = platform.create(person, scopes="read")["key"]
    assert platform.client.get("/api/v1/auth/me", headers=header(key)).status_code == 200
    refused = platform.client.post("/api/v1/posts", json={"title": "x", "content": "x"}, headers=header(key))
    assert (refused.status_code, refused.json()["type"]) == (403, "insufficient-scope")


@pytest.mark.parametrize("way", ["delete", "deactivate", "revoke"])
def test_a_key_that_ends_is_refused_at_both_gateways(platform: Platform, person: Person, way: str) -> None:
    made = platform.create(person)
    for client in platform.gateways:
        assert client.get("/posts", headers=header(made["key"])).status_code == 200
    path = f"/api/v1/api-keys/{made['id']}"
    match way:
        case "delete":
            ended = platform.client.delete(path, headers=person.headers)
        case "deactivate":
            ended = platform.client.post(f"{path}/deactivate", headers=person.headers)
        case _:
            ended = platform.client.post("/api/v1/api-keys/self/revoke", headers=header(made["key"]))
    assert ended.status_code in {200, 204}, ended.text
    end = time.monotonic()
    assert all(last_acceptance(client, made["key"]) - end < PROMISED_SECONDS for client in platform.gateways)


def last_acceptance(client: httpx.Client, key: object) -> float:
    """When the last request was sent that was still accepted."""
    last = 0.0

    def is_over() -> bool:
        nonlocal last
        sent = time.monotonic()
        if is_refused(client, key):
            return True
        last = sent
        return False

    wait_until(is_over)
    return last


def is_refused(client: httpx.Client, key: object) -> bool:
    """A public page too: a wrong credential is an error."""
    response = client.get("/api/v1/posts", headers=header(key))
    return response.status_code == 401 and response.json()["type"] == "invalid-api-key"


def test_a_key_that_was_deactivated_works_again_after_activation(platform: Platform, person: Person) -> None:
    made = platform.create(person)
    path = f"/api/v1/api-keys/{made['id']}"
    platform.client.post(f"{path}/deactivate/", headers=person.headers).raise_for_status()
    wait_until(lambda: is_refused(platform.client, made["key"]))
    platform.client.post(f"{path}/activate/", headers=person.headers).raise_for_status()
    wait_until(lambda: not is_refused(platform.client, made["key"]))


def test_both_keys_work_during_the_grace_of_a_rotation(platform: Platform, person: Person) -> None:
    made = platform.create(person)
    path = f"/api/v1/api-keys/{made['id']}/rotate"
    rotated = platform.client.post(path, json={"grace_seconds": 3}, headers=person.headers)
    assert rotated.status_code == 201, rotated.text
    new = rotated.json()["key"]
    for client in platform.gateways:
        for key in (made["key"], new):
            assert client.get("/posts", headers=header(key)).status_code == 200
    for client in platform.gateways:
        wait_until(lambda client=client: is_refused(client, made["key"]))  # type: ignore[misc]
    assert platform.client.get("/posts", headers=header(new)).status_code == 200


def test_an_admin_who_is_demoted_has_no_admin_key(platform: Platform) -> None:
    admin, other = make_admin(platform), make_admin(platform)
    key = platform.create(admin, scopes="admin")["key"]
    for client in platform.gateways:
        assert client.get("/api/v1/audit", headers=header(key)).status_code == 200
    path = f"/api/v1/users/{admin.id}"
    platform.client.patch(path, json={"role": "user"}, headers=other.headers).raise_for_status()
    for client in platform.gateways:
        wait_until(lambda client=client: client.get("/api/v1/audit", headers=header(key)).status_code == 403)  # type: ignore[misc]


def test_a_mistyped_key_is_refused_without_a_question_to_auth(platform: Platform, person: Person) -> None:
    key = str(platform.create(person)["key"])
    other = key[:-7] + ("A" if key[-7] != "A" else "B") + key[-6:]
    for wrong in (other, key[:-1], "kpi_", "", "secret"):
        response = platform.client.get("/api/v1/posts", headers=header(wrong))
        assert (response.status_code, response.json()["type"]) == (401, "invalid-api-key")
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_two_credentials_are_refused(platform: Platform, person: Person) -> None:
    first, second = (str(platform.create(person)["key"]) for _ in range(2))
    for headers in (
        header(first) | header(second, "Octopus-API-Key"),
        header(first) | header(second, "Authorization"),
        header(first) | person.headers,
    ):
        response = platform.client.get("/api/v1/posts", headers=headers)
        assert (response.status_code, response.json()["type"]) == (400, "several-credentials")
    same = platform.client.get("/api/v1/posts", headers=header(first) | header(first, "Authorization"))
    assert same.status_code == 200


def test_wrong_keys_count_against_their_address(platform: Platform, person: Person) -> None:
    made = platform.create(person)
    known = platform.create(person)["key"]
    assert platform.client.get("/posts", headers=header(known)).status_code == 200
    platform.client.delete(f"/api-keys/{made['id']}", headers=person.headers).raise_for_status()
    statuses = [platform.client.get("/posts", headers=header(made["key"])).status_code for _ in range(WRONG_KEYS + 1)]
    assert statuses == [401] * WRONG_KEYS + [429]
    new = platform.create(person)["key"]
    refused = platform.client.get("/posts", headers=header(new))
    assert (refused.status_code, refused.json()["type"]) == (429, "too-many-requests")
    assert 0 < int(refused.headers["retry-after"]) <= 120
    # A key that was valid here before is not locked out, nor are other addresses.
    assert platform.client.get("/posts", headers=header(known)).status_code == 200
    elsewhere = {"X-Forwarded-For": next(_addresses)}
    assert platform.client.get("/posts", headers=header(new) | elsewhere).status_code == 200


def test_a_key_works_only_in_its_networks(platform: Platform, person: Person) -> None:
    made = platform.create(person, allowed_networks=["203.0.113.0/24", "2001:db8::/32"])
    for address in ("203.0.113.7", "::ffff:203.0.113.8", "2001:db8::1"):
        allowed = platform.client.get("/posts", headers=header(made["key"]) | {"X-Forwarded-For": address})
        assert allowed.status_code == 200, allowed.text
    refused = platform.client.get("/posts", headers=header(made["key"]) | {"X-Forwarded-For": "192.0.2.9"})
    assert (refused.status_code, refused.json()["type"]) == (403, "network-not-allowed")
    admin = make_admin(platform)
    wanted = {"event": "api_key.network_refused"}

    def find_records() -> list[dict[str, Any]]:
        found = platform.client.get("/api/v1/audit", params=wanted, headers=admin.headers).json()["items"]
        return [each for each in found if each["details"]["key_id"] == made["id"]]

    wait_until(lambda: bool(find_records()))
    assert find_records()[0]["address"] == "192.0.2.9"


def make_admin(platform: Platform) -> Person:
    username = f"a{secrets.token_hex(8)}"
    given = json.dumps({"username": username, "password": PASSWORD, "role": "admin"})
    settings = {name: value for name, value in platform.settings.items() if name != "FOLDER"}
    run_command("kpi_auth", "create-user", settings=settings, given=given)
    tokens = platform.client.post("/api/v1/auth/login/json", json={"username": username, "password": PASSWORD}).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    found = platform.client.get("/api/v1/auth/me", headers=headers).json()
    return Person(found["id"], username, "", tokens["access_token"], tokens["refresh_token"])


def test_a_key_has_a_rate_limit_of_its_own(platform: Platform, person: Person) -> None:
    key = platform.create(person, rate_limit={"requests": 3, "window": 86400})["key"]
    other = platform.create(person)["key"]
    responses = [platform.client.get("/posts", headers=header(key)) for _ in range(4)]
    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert [response.headers["x-ratelimit-remaining"] for response in responses] == ["2", "1", "0", "0"]
    assert '"key";q=3;w=86400' in responses[0].headers["ratelimit-policy"]
    assert '"key";r=2;' in responses[0].headers["ratelimit"]
    assert platform.client.get("/posts", headers=header(other)).status_code == 200


def test_the_last_use_is_reported(platform: Platform, person: Person) -> None:
    made = platform.create(person)
    address = platform.client.headers["X-Forwarded-For"]
    for client in platform.gateways:
        for _ in range(3):
            client.get("/posts", headers=header(made["key"])).raise_for_status()

    def find_uses() -> dict[str, object]:
        return dict(platform.client.get(f"/api-keys/{made['id']}", headers=person.headers).json())

    wait_until(lambda: find_uses()["uses"] == 6)
    assert find_uses()["last_used_address"] == address
    assert find_uses()["last_used_at"]


def test_no_log_has_a_part_of_a_secret(platform: Platform, person: Person) -> None:
    key = str(platform.create(person)["key"])
    platform.client.get("/posts", headers=header(key)).raise_for_status()
    platform.client.get("/posts", headers=header(key[:-1]))
    secret = key.rpartition("_")[2]
    logs = "".join(path.read_text() for path in Path(platform.settings["FOLDER"]).glob("*.log"))
    assert logs
    assert secret[:12] not in logs


def test_without_auth_keys_get_503_and_other_requests_go_on(worker: str, secret_key: str, tmp_path: Path) -> None:
    services = service_settings(f"keys_down_{worker}", secret_key)
    internal_key, port = secrets.token_hex(32), free_port()
    settings = {**services["auth"], "INTERNAL_PORT": str(port), "INTERNAL_KEY": internal_key}
    with ExitStack() as stack:
        auth = stack.enter_context(launch_part("kpi_auth", settings, log=tmp_path / "auth.log"))
        content = stack.enter_context(start_part("kpi_content", services["content"], log=tmp_path / "content.log"))
        internal = {"AUTH_INTERNAL_URL": f"http://127.0.0.1:{port}", "INTERNAL_KEY": internal_key}
        urls = {"AUTH_URL": auth.address, "CONTENT_URL": content, "RATE_LIMIT_ENABLED": "false", **internal}
        log = tmp_path / "gateway.log"
        gateway = stack.enter_context(start_part("kpi_gateway", urls, log=log, is_patient=False))
        client = stack.enter_context(httpx.Client(base_url=gateway, timeout=30))
        platform = Platform((client,), settings)
        person = join(client)
        used, unused = (platform.create(person)["key"] for _ in range(2))
        assert client.get("/posts", headers=header(used)).status_code == 200
        auth.process.kill()
        auth.process.wait()
        refused = client.get("/posts", headers=header(unused))
        assert (refused.status_code, refused.json()["type"]) == (503, "api-keys-unavailable")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/posts").status_code == 200
        wait_until(lambda: client.get("/posts", headers=header(used)).status_code == 503)
