"""The keys of the tokens in containers: who can read them, and how they are replaced while everything runs."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stack import PASSWORD, Person, Stack, join

pytestmark = [
    pytest.mark.compose,
    pytest.mark.skipif("KPI_GATEWAY_URL" not in os.environ, reason="make compose-test runs these"),
]
_DEADLINE_SECONDS = 60.0


def compose(*arguments: str) -> str:
    settings = os.environ | {"RATE_LIMIT_ENABLED": "false"}
    command = ["docker", "compose", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=settings).stdout


def keys(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(compose("run", "--rm", "-T", "keys", *arguments))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def client(stack: Stack) -> Any:
    with httpx.Client(base_url=f"{stack.gateway}/api/v1", timeout=30) as client:
        yield client


def sign_in(client: httpx.Client, person: Person) -> dict[str, str]:
    tokens = client.post("/auth/login", json={"username": person.username, "password": PASSWORD}).json()
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def status_of(client: httpx.Client, headers: dict[str, str]) -> set[int]:
    return {client.get(path, headers=headers).status_code for path in ("/auth/me", "/posts?mine=true")}


@pytest.mark.parametrize(
    ("part", "file", "is_readable"),
    [
        ("auth", "paseto_keys.json", True),
        ("content", "paseto_keys.json", False),
        ("gateway", "paseto_keys.json", False),
        ("content", "paseto_verifier_keys.json", True),
        ("gateway", "paseto_verifier_keys.json", True),
    ],
)
def test_each_file_has_its_readers(part: str, file: str, is_readable: bool) -> None:
    command = ["docker", "compose", "exec", "-T", part, "test", "-r", f"/run/kpi/{file}"]
    assert (subprocess.run(command, check=False, timeout=60).returncode == 0) is is_readable


def test_a_rotation_replaces_the_key_while_everything_runs(client: httpx.Client) -> None:
    anna = join(client, prefix="")
    before = keys("status", "--json")
    assert before["keys"][0]["held_by"].items() >= {"auth": "1 of 1", "content": "1 of 1"}.items()
    rotated = keys("rotate", "--wait", "3")
    after = keys("status", "--json")
    assert after["keys"][0]["kid"] == rotated["active"] != before["keys"][0]["kid"]
    assert after["keys"][1]["state"] == "retired"
    assert status_of(client, anna.headers) == {401}
    assert status_of(client, sign_in(client, anna)) == {200}
    # The new files have the readers of the old ones.
    test_each_file_has_its_readers("content", "paseto_keys.json", False)
    test_each_file_has_its_readers("content", "paseto_verifier_keys.json", True)


def test_a_killed_key_is_refused_and_sessions_go_on(client: httpx.Client) -> None:
    anna = join(client, prefix="")
    active = keys("status", "--json")["keys"][0]["kid"]
    assert keys("kill", active) == {"killed": active}
    wait_until(lambda: status_of(client, anna.headers) == {401})
    refreshed = client.post("/auth/refresh", json={"refresh_token": anna.refresh_token}).json()
    assert status_of(client, {"Authorization": f"Bearer {refreshed['access_token']}"}) == {200}


def test_another_start_keeps_the_keys(client: httpx.Client) -> None:
    anna = join(client, prefix="")
    compose("up", "--wait")
    assert status_of(client, anna.headers) == {200}
