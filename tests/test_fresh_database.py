"""``kpi db`` under a running stack: the parts go on with the new database, and still refuse what has ended."""

import json
import os
import time
from pathlib import Path

import httpx
import pytest
from generator_support import sign_in
from local_stack import LocalStack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="another stack is tested"),
]
TIMEOUT_SECONDS = 30


def kpi(local: LocalStack, *arguments: str) -> object:
    result = local.kpi(*arguments, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


def end_session(client: httpx.Client) -> None:
    """Sign in, post, sign out; the token is refused from then on, by content too."""
    headers = sign_in(client, "seed_user_2")
    post = {"title": "x", "content": ""}
    assert client.post("/posts", json=post, headers=headers).status_code == 201
    assert client.post("/auth/logout", headers=headers).status_code == 204
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (response := client.post("/posts", json=post, headers=headers)).status_code != 401:
        assert time.monotonic() < deadline, response.text
        time.sleep(0.1)


def test_a_running_stack_goes_on_with_a_fresh_database(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with (
        LocalStack(tmp_path / "state").running() as local,
        httpx.Client(base_url=f"{local.status()['gateway_url']}/api/v1", timeout=30) as client,
    ):
        kpi(local, "db", "seed", "--count", "2")
        for _ in range(3):
            end_session(client)
        kpi(local, "db", "fresh", "--yes")
        assert client.get("/posts").json()["items"] == []
        kpi(local, "db", "seed", "--count", "2")
        # The place in auth's feed that content remembers is that of the database before.
        end_session(client)
