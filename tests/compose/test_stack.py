"""The stack in containers: its isolation, what it survives, and how it stops.

`make compose-test` starts it and passes its address; the tests run in the order of this file.
"""

import json
import os
import subprocess
import time
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from kpi_cli import parts
from stack import PASSWORD, Person, Stack, join

pytestmark = [
    pytest.mark.compose,
    pytest.mark.skipif("KPI_GATEWAY_URL" not in os.environ, reason="make compose-test runs these"),
]
BASE = "python:3.13-slim-trixie"
PARTS = tuple(part.name for part in parts.PARTS)
WITH_DATABASE = tuple(part.name for part in parts.WITH_DATABASE)
JOBS = ("databases", "keys", *(f"{name}-migrate" for name in WITH_DATABASE))
LARGEST = 250 * 1000 * 1000


def compose(*arguments: str) -> str:
    command = ["docker", "compose", *arguments]
    # As in make compose-test: the test run has removed this setting from its own environment, and many users register
    # from one address here.
    settings = os.environ | {"RATE_LIMIT_ENABLED": "false"}
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=settings).stdout


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=300).stdout


def container(service: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", compose("ps", "--all", "--quiet", service).strip()))[0]
    return found


@pytest.fixture
def client(stack: Stack) -> Any:
    with httpx.Client(base_url=stack.gateway, timeout=30) as client:
        yield client


@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_with_least_privileges(part: str) -> None:
    details = container(part)
    assert details["Config"]["User"] not in {"", "0", "root"}
    assert details["HostConfig"]["ReadonlyRootfs"]
    assert details["HostConfig"]["CapDrop"] == ["ALL"]
    assert not details["HostConfig"]["Privileged"]
    assert compose("exec", "-T", part, "sh", "-c", "command -v gcc cc make || echo none").strip() == "none"


def test_only_the_gateway_is_published() -> None:
    services = ("postgres", *PARTS)
    published = {name for name in services if any(container(name)["NetworkSettings"]["Ports"].values())}
    assert published == {"gateway"}


@pytest.mark.parametrize("part", PARTS)
def test_the_metrics_of_each_part_are_readable_on_the_internal_network(client: httpx.Client, part: str) -> None:
    client.get("/api/v1/posts")
    read = f"import urllib.request as r; print(r.urlopen('http://{part}:9100/metrics', timeout=5).read().decode())"
    assert f'kpi_http_requests_in_flight{{part="{part}"}}' in compose("exec", "-T", "gateway", "python", "-c", read)
    assert client.get("/metrics").status_code == 404


def test_the_gateway_reaches_no_database() -> None:
    lookup = "import socket; socket.getaddrinfo('postgres', 5432)"
    with pytest.raises(subprocess.CalledProcessError):
        compose("exec", "-T", "gateway", "python", "-c", lookup)


def test_only_auth_and_the_gateway_have_an_external_network() -> None:
    """Auth for the mail server, the gateway for its clients; the two networks are separate."""
    open_networks = {}
    for service in ("postgres", *PARTS):
        names = container(service)["NetworkSettings"]["Networks"]
        internal = {name: json.loads(docker("network", "inspect", name))[0]["Internal"] for name in names}
        open_networks[service] = [name.rpartition("_")[2] for name in names if not internal[name]]
    assert {name: networks for name, networks in open_networks.items() if networks} == {
        "auth": ["mail"],
        "gateway": ["outside"],
    }


def test_a_mail_becomes_a_file_in_a_volume_and_auth_sees_the_clients_address(client: httpx.Client) -> None:
    anna = join(client)
    deadline = time.monotonic() + 60
    while f"To: {anna.email}" not in compose("exec", "-T", "auth", "sh", "-c", "cat /mails/*verify_email*.eml || true"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    mode = compose("exec", "-T", "auth", "stat", "-c", "%a %u", "/mails").strip()
    assert mode == "700 10001"
    inside = container("gateway")["NetworkSettings"]["Networks"]
    own = {network["IPAddress"] for network in inside.values()}
    sessions = client.get("/api/v1/auth/sessions", headers=sign_in(client, anna)).json()["items"]
    # The client is outside, so its address is not the gateway's.
    assert sessions[0]["address"] not in own | {None}


def sign_in(client: httpx.Client, person: Person) -> dict[str, str]:
    body = {"username": person.username, "password": PASSWORD}
    token = client.post("/api/v1/auth/login", json=body).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("part", PARTS)
def test_an_image_is_small_and_labelled_and_contains_only_its_part(part: str) -> None:
    image = json.loads(docker("image", "inspect", container(part)["Image"]))[0]
    base = json.loads(docker("image", "inspect", BASE))[0]
    assert image["Size"] - base["Size"] < LARGEST
    assert image["Config"]["Labels"]["org.opencontainers.image.title"] == f"KPI-One {part}"
    assert image["Config"]["Healthcheck"]
    listing = "import importlib.metadata as m; print(*(d.name for d in m.distributions() if d.name.startswith('kpi')))"
    packages = compose("exec", "-T", part, "python", "-c", listing).split()
    libraries = ["kpi-shared"] if part == "gateway" else ["kpi-kit", "kpi-shared"]
    assert sorted(packages) == sorted([f"kpi-{part}", *libraries])


@pytest.mark.parametrize("service", ["postgres", *JOBS, *PARTS])
def test_inspect_history_and_logs_show_no_secret(service: str) -> None:
    url = compose("exec", "-T", "auth", "cat", "/run/kpi/auth_database_url").strip()
    ring = json.loads(compose("exec", "-T", "auth", "cat", "/run/kpi/paseto_keys.json"))
    key = ring["keys"][0]["key"].rpartition(".")[2]
    assert len(key) > 40
    password = urlsplit(url).password
    assert password
    shown = json.dumps(container(service)) + docker("history", "--no-trunc", container(service)["Image"])
    shown += compose("logs", "--no-color", service)
    assert key not in shown
    assert password not in shown


def test_a_part_cannot_read_the_secrets_of_another() -> None:
    pairs = [(part, other) for part in PARTS for other in WITH_DATABASE if part != other]
    for part, other in pairs:
        with pytest.raises(subprocess.CalledProcessError):
            compose("exec", "-T", part, "cat", f"/run/kpi/{other}_database_url")
    others = {name: "internal_key" for name in WITH_DATABASE if name != "auth"} | {"gateway": "feed_key"}
    for part, key in others.items():
        for name in ("postgres_password", "auth_secret_key", key):
            with pytest.raises(subprocess.CalledProcessError):
                compose("exec", "-T", part, "cat", f"/run/kpi/{name}")


def test_the_stack_survives_a_restart_of_the_database(client: httpx.Client) -> None:
    anna = join(client)
    made = post(client, anna, "Before the restart")
    compose("restart", "postgres")
    statuses = [client.get(f"/api/v1/posts/{made}").status_code for _ in range(5)]
    assert set(statuses) <= {200, 503}
    await_ready(client)
    assert client.get(f"/api/v1/posts/{made}").json()["title"] == "Before the restart"
    assert client.get("/api/v1/auth/me", headers=anna.headers).status_code == 200
    post(client, anna, "After the restart")


def test_the_stack_survives_a_restart_of_a_service(client: httpx.Client) -> None:
    anna = join(client)
    compose("restart", "content")
    statuses = [client.get("/api/v1/posts").status_code for _ in range(5)]
    assert set(statuses) <= {200, 502, 503}
    await_ready(client)
    post(client, anna, "After the restart of content")


def test_a_stop_completes_requests_in_flight_and_kills_no_container(stack: Stack, client: httpx.Client) -> None:
    anna = join(client)
    address = urlsplit(stack.gateway)
    body = json.dumps({"title": "Sent while it stops", "content": ""}).encode()
    connection = HTTPConnection(str(address.hostname), address.port, timeout=20)
    connection.putrequest("POST", "/api/v1/posts")
    headers = {**anna.headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body[:10])
    # The request is in flight: its first bytes have reached the gateway before the stop begins.
    time.sleep(0.5)
    stopping = subprocess.Popen(["docker", "compose", "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    connection.send(body[10:])
    response = connection.getresponse()
    assert response.status == 201, response.read()
    made = json.loads(response.read())["id"]
    assert stopping.wait(60) == 0
    # 137 is the exit code of a container that had to be killed.
    assert {name: container(name)["State"]["ExitCode"] for name in ("postgres", *PARTS)} == dict.fromkeys(
        ("postgres", *PARTS), 0
    )

    compose("up", "--wait")
    again = client.get(f"/api/v1/posts/{made}")
    assert again.json()["title"] == "Sent while it stops"
    assert client.get("/api/v1/auth/me", headers=anna.headers).status_code == 200


def post(client: httpx.Client, person: Person, title: str) -> int:
    response = client.post("/api/v1/posts", json={"title": title, "content": ""}, headers=person.headers)
    assert response.status_code == 201, response.text
    made: int = response.json()["id"]
    return made


def await_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while set(client.get("/health/ready").json().get("checks", {"": ""}).values()) != {"ok"}:
        assert time.monotonic() < deadline, client.get("/health/ready").text
        time.sleep(0.2)
