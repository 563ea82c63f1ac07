"""The feed of real processes: snapshots, pages, and streams with heartbeats."""

import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from auth_support import PASSWORD, registration
from feed_support import FeedClient, events_of
from kpi_auth.events import repository
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import PartProcess, free_port, launch_part


@pytest.fixture(scope="module")
def environment(worker: str, secret_key: str) -> dict[str, str]:
    return {
        "DATABASE_URL": create_migrated_database("kpi_auth", f"auth_streams_{worker}"),
        "PASETO_SECRET_KEY": secret_key,
        "INTERNAL_PORT": str(free_port()),
        "INTERNAL_KEY": secrets.token_hex(32),
        "FEED_KEY": secrets.token_hex(32),
        "ARGON2_MEMORY_KIB": "64",
        "ARGON2_TIME_COST": "1",
    }


@pytest.fixture(scope="module")
def auth(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[PartProcess]:
    with launch_part("kpi_auth", environment, log=tmp_path_factory.mktemp("auth") / "auth.log") as part:
        yield part


@pytest.fixture
def feed(environment: dict[str, str]) -> FeedClient:
    return FeedClient(int(environment["INTERNAL_PORT"]), environment["FEED_KEY"])


def register(auth: PartProcess, username: str) -> int:
    response = httpx.post(f"{auth.address}/users", json=registration(username))
    assert response.status_code == 201, response.text
    return int(response.json()["id"])


def sign_in(auth: PartProcess, username: str) -> dict[str, str]:
    tokens = httpx.post(f"{auth.address}/auth/login", json={"username": username, "password": PASSWORD}).json()
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def test_what_happens_is_in_the_stream_the_page_and_the_snapshot(auth: PartProcess, feed: FeedClient) -> None:
    start = feed.get("revocations")["seq"]
    with feed.stream(start) as lines:
        first = next(lines)
        assert (first["heartbeat"], first["seq"]) == (True, start)
        anna = register(auth, "anna")
        headers = sign_in(auth, "anna")
        assert httpx.post(f"{auth.address}/auth/logout", headers=headers).status_code == 204
        created, ended = events_of(lines, 2)
    assert (created["type"], created["account_id"], created["data"]["username"]) == ("account.created", anna, "anna")
    assert (ended["type"], ended["account_id"], ended["data"]["reason"]) == ("session.ended", anna, "logout")
    assert start < created["seq"] < ended["seq"]
    page = feed.get(f"events/page?after={start}")
    assert [item["seq"] for item in page["items"]] == [created["seq"], ended["seq"]]
    assert page["last"] == ended["seq"]
    assert feed.get(f"events/page?after={start}&limit=1")["last"] == created["seq"]
    snapshot = feed.get("revocations")
    (revocation,) = (each for each in snapshot["revocations"] if each["id"] == str(ended["data"]["session_id"]))
    assert revocation["kind"] == "session"
    assert 0 < revocation["seconds"] <= ended["seconds"]
    assert snapshot["seq"] == ended["seq"]


def test_heartbeats_say_how_far_the_relay_is(auth: PartProcess, feed: FeedClient) -> None:
    register(auth, "berta")
    with feed.stream(0) as lines:
        events_of(lines, 1)
        beats = [line for line in (next(lines) for _ in range(20)) if line.get("heartbeat")]
    assert len(beats) >= 10
    assert beats[-1]["seq"] == feed.get("revocations")["seq"]
    assert [beat["at"] for beat in beats] == sorted({beat["at"] for beat in beats})


def test_heartbeats_say_that_an_event_waits(auth: PartProcess, feed: FeedClient, environment: dict[str, str]) -> None:
    """The relay of another process has the lock, and does not come forward."""
    start = feed.get("revocations")["seq"]
    with psycopg.connect(environment["DATABASE_URL"].replace("+psycopg", "")) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (repository.RELAY_LOCK,))
        register(auth, "clara")
        with feed.stream(start) as lines:
            deadline = time.monotonic() + 20
            while (beat := next(lines))["behind"] <= 1:
                assert time.monotonic() < deadline
            assert beat["seq"] == start
            connection.rollback()
            events_of(lines, 1)
            while next(lines)["behind"] > 1:
                assert time.monotonic() < deadline


def test_a_stream_outlives_the_deadline_of_its_request(auth: PartProcess, feed: FeedClient) -> None:
    headers = {**feed.headers, "X-Request-Timeout": "300"}
    with httpx.stream("GET", feed.url("events?after=0"), headers=headers, timeout=10) as response:
        assert response.status_code == 200
        started = time.monotonic()
        for _line in response.iter_lines():
            if time.monotonic() - started > 1:
                break
        else:
            pytest.fail("the stream has ended")
    assert not [record for record in auth.lines() if record["level"] == "error"]


def test_a_place_that_was_never_given_is_gone(feed: FeedClient) -> None:
    for path in ("events?after=1000000", "events/page?after=1000000"):
        response = httpx.get(feed.url(path), headers=feed.headers)
        assert (response.status_code, response.json()["type"]) == (410, "events-gone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_end_with_the_process(environment: dict[str, str], tmp_path: Path, number: int) -> None:
    settings = {**environment, "INTERNAL_PORT": str(free_port()), "SHUTDOWN_SECONDS": "60"}
    with launch_part("kpi_auth", settings, log=tmp_path / "auth.log") as part:
        feed = FeedClient(int(settings["INTERNAL_PORT"]), settings["FEED_KEY"])
        with feed.stream(0) as lines:
            next(lines)
            part.process.send_signal(number)
            # The response is complete: a connection that is cut raises.
            for _line in lines:
                pass
        assert part.process.wait(20) == 0
    assert not [record for record in part.lines() if record["level"] == "error"]
