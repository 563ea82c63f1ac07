"""The keys of the tokens are replaced and killed while a local stack serves requests."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.secret_keys import SecretKeys
from kpi_auth.tokens import refresh_tokens
from kpi_auth.tokens.api_key_texts import API_KEYS
from kpi_auth.tokens.refresh_tokens import RefreshTokens
from kpi_cli.layout import Layout
from kpi_cli.parts import PARTS
from kpi_cli.stack import environments, vault
from kpi_cli.stack.ports import Ports
from kpi_cli.token_keys import files as token_files
from kpi_cli.token_keys.ring import Ring, now
from kpi_shared.testing.process import wait_until
from local_stack import LocalStack
from stack import PASSWORD, Person, join

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests rotate the keys of a stack of their own"),
]
# Long enough for a client that refreshes before each request; a token's life would be a minute at least.
WAIT = "4"
URL = "postgresql://kpi:a-password@127.0.0.1:9/kpi"


@contextmanager
def new_home() -> Iterator[Path]:
    # Not tmp_path: another run of pytest closes its folder to other users, and PostgreSQL may run as one.
    with tempfile.TemporaryDirectory(prefix="kpi-keys-") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "state"
        home.mkdir()
        yield home


@pytest.fixture(scope="module")
def local() -> Iterator[LocalStack]:
    with new_home() as home, LocalStack(home, RATE_LIMIT_REQUESTS="100000").running() as stack:
        yield stack


@pytest.fixture
def client(local: LocalStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{local.status()['gateway_url']}/api/v1", timeout=30) as client:
        yield client


def ring(local: LocalStack) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = json.loads((local.home / "secrets" / "paseto_keys.json").read_text())["keys"]
    return keys


def states(local: LocalStack) -> list[str]:
    return [key["state"] for key in ring(local)]


def status(local: LocalStack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(local.kpi("keys", "status", "--json").stdout)
    return found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Crowd:
    """A client that signs in once, and from then on refreshes, reads and writes."""

    def __init__(self, client: httpx.Client, person: Person) -> None:
        self._client = client
        self._refresh_token = person.refresh_token
        self.responses: list[tuple[str, int]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def running(self) -> Iterator["Crowd"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            self._thread.join()

    def _run(self) -> None:
        # The machine is also the stack's.
        while not self._is_over.wait(0.05):
            self._go_round()

    def _go_round(self) -> None:
        refreshed = self._send("POST", "/auth/refresh", json={"refresh_token": self._refresh_token})
        self._refresh_token = refreshed["refresh_token"]
        headers = bearer(refreshed["access_token"])
        self._send("GET", "/auth/me", headers=headers)
        self._send("GET", "/posts", params={"mine": "true"}, headers=headers)
        self._send("POST", "/posts", json={"title": "During a rotation", "content": ""}, headers=headers)

    def _send(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self._client.request(method, path, **options)
        self.responses.append((path, response.status_code))
        found: dict[str, Any] = response.json()
        return found


def test_a_whole_rotation_fails_no_request(local: LocalStack, client: httpx.Client) -> None:
    anna = join(client, prefix="")
    old = ring(local)[0]["kid"]
    with Crowd(client, anna).running() as crowd:
        rotated = local.kpi("keys", "rotate", "--wait", WAIT)
    assert rotated.returncode == 0, rotated.stderr
    assert {code for _, code in crowd.responses} <= {200, 201}, crowd.responses
    assert states(local)[0] == "active"
    new = ring(local)[0]["kid"]
    assert rotated.stdout == f"kpi: the tokens' key is now {new}\n"
    assert f"retired {old}" in rotated.stderr
    # The token of before is refused everywhere, since the wait was shorter than its life: a part reads the ring soon.
    for path in ("/auth/me", "/posts?mine=true"):
        wait_until(lambda path=path: client.get(path, headers=anna.headers).status_code == 401)  # type: ignore[misc]
    found = status(local)
    assert found["keys"][0]["held_by"] == {part.name: "1 of 1" for part in PARTS}
    assert found["keys"][1]["state"] == "retired"
    assert found["next"].startswith("nothing is under way")


def start_rotation(local: LocalStack) -> "subprocess.Popen[str]":
    # A shell starts its background jobs with SIGINT ignored, and they pass that on to their own processes.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "kpi_cli", "keys", "rotate", "--wait", WAIT]
    return subprocess.Popen(command, env=local.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("phase", ["announced", "activated", "the old key is retired in"])
def test_ctrl_c_in_any_phase_harms_nothing_and_the_next_run_continues(local: LocalStack, phase: str) -> None:
    before = {key["kid"] for key in ring(local)}
    process = start_rotation(local)
    assert process.stderr is not None
    said = ""
    while phase not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "stopped; what is done is in the key ring" in rest
    assert "Traceback" not in rest
    begun = {key["kid"] for key in ring(local)}
    assert len(begun - before) == 1
    assert status(local)["next"].endswith("kpi keys rotate continues")

    continued = local.kpi("keys", "rotate", "--wait", WAIT)
    assert continued.returncode == 0, continued.stderr
    assert "continuing the rotation" in continued.stderr
    assert {key["kid"] for key in ring(local)} == begun
    assert set(states(local)[1:]) == {"retired"}


def test_a_second_rotation_at_once_is_refused(local: LocalStack) -> None:
    process = start_rotation(local)
    assert process.stderr is not None
    # The first line comes after the lock is held.
    process.stderr.readline()
    second = local.kpi("keys", "rotate")
    assert second.returncode == 1
    assert "another rotation is under way" in second.stderr
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_killed_key_is_refused_everywhere_and_sessions_go_on(local: LocalStack, client: httpx.Client) -> None:
    anna = join(client, prefix="")
    killed = ring(local)[0]["kid"]
    with Crowd(client, join(client, prefix="")).running() as crowd:
        result = local.kpi("keys", "kill", killed[:16])
    assert result.returncode == 0, result.stderr
    assert f"{killed} is killed" in result.stdout
    for path in ("/auth/me", "/posts?mine=true"):
        wait_until(lambda path=path: client.get(path, headers=anna.headers).status_code == 401)  # type: ignore[misc]
    refreshed = client.post("/auth/refresh", json={"refresh_token": anna.refresh_token})
    assert refreshed.status_code == 200
    assert client.get("/posts?mine=true", headers=bearer(refreshed.json()["access_token"])).status_code == 200
    # A request with a token of the killed key may have been on its way; no other one failed.
    assert {code for _, code in crowd.responses} <= {200, 201, 401}
    assert [(key["state"], "key" in key) for key in ring(local)[:2]] == [("active", True), ("killed", False)]
    assert result.stderr.count(killed) >= 1
    # An old copy of the file does not bring it back.
    file = local.home / "secrets" / "paseto_keys.json"
    assert killed in file.read_text()


@pytest.fixture
def home() -> Iterator[Path]:
    with new_home() as home:
        yield home


def test_what_auth_made_with_the_tokens_keys_before_the_ring_is_accepted_after_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, previous = secrets.token_hex(32), secrets.token_hex(32)
    layout = Layout(Path.cwd(), home)
    # An installation of before: AUTH_SECRET_KEY has been made later than the oldest session, and than an API key.
    layout.secrets.mkdir()
    (layout.secrets / "paseto_secret_key").write_text(key)
    (layout.secrets / "paseto_previous_keys").write_text(previous)
    before = [SecretKeys(settings_of(monkeypatch, PASETO_SECRET_KEY=each)) for each in (key, previous)]
    vault.ensure(layout.secrets)
    vault.write_database_urls(layout.secrets, "127.0.0.1:9")
    token_files.ensure(layout.secrets, None)
    for _ in range(2):
        token_files.store_in(layout.secrets).update(turn)
        token_files.ensure(layout.secrets, None)
    auth = next(part for part in PARTS if part.mints_tokens)
    after = SecretKeys(settings_of(monkeypatch, **environments.own_settings(layout, auth, Ports({}))))
    sealed, secret = secrets.token_bytes(16), secrets.token_bytes(32)
    for former in before:
        token = refresh_tokens.parse(RefreshTokens(former).make(session_id=1, counter=1, secret=secret))
        assert RefreshTokens(after).is_genuine(token, secret=secret)
        assert former.derive(API_KEYS)[0] in after.derive(API_KEYS)
        # What no other part may make: they had these keys.
        assert former.derive(sealed)[0] not in after.derive_own(sealed)


def settings_of(monkeypatch: pytest.MonkeyPatch, **settings: str) -> AuthSettings:
    with monkeypatch.context() as patch:
        for name, value in {"CONFIG_DIR": os.devnull, "DATABASE_URL": URL, **settings}.items():
            if not (name == "DATABASE_URL" and "DATABASE_URL_FILE" in settings):
                patch.setenv(name, value)
        return AuthSettings.load()


def turn(ring: Ring) -> Ring:
    return ring.announce(now()).activate(now()).retire(now(), older_than=timedelta(0)).end_rotation()


def test_another_purpose_ends_no_session(home: Path) -> None:
    with (
        LocalStack(home).running() as local,
        httpx.Client(base_url=local.status()["gateway_url"], timeout=30) as client,
    ):
        anna = join(client)
    with (
        LocalStack(home, TOKEN_PURPOSE="public").running() as local,
        httpx.Client(base_url=f"{local.status()['gateway_url']}/api/v1", timeout=30) as client,
    ):
        refused = client.get("/posts?mine=true", headers=anna.headers)
        assert refused.status_code == 401
        assert "invalid_token" in refused.headers["www-authenticate"]
        refreshed = client.post("/auth/refresh", json={"refresh_token": anna.refresh_token})
        assert refreshed.status_code == 200
        token = refreshed.json()["access_token"]
        assert token.startswith("v4.public.")
        made = client.post("/posts", json={"title": "Signed", "content": ""}, headers=bearer(token))
        assert made.status_code == 201
        own, others = (
            (home / "secrets" / name).read_text() for name in ("paseto_keys.json", "paseto_verifier_keys.json")
        )
        assert "k4.secret." in own
        assert "k4.secret." not in others
        rotated = local.kpi("keys", "rotate", "--no-wait")
        assert rotated.returncode == 0, rotated.stderr
        # The old key still verifies.
        assert client.get("/posts?mine=true", headers=bearer(token)).status_code == 200
        again = client.post("/auth/login", json={"username": anna.username, "password": PASSWORD}).json()
        assert client.get("/posts?mine=true", headers=bearer(again["access_token"])).status_code == 200
        assert [key["state"] for key in ring(local)] == ["active", "verify-only"]
    # Without the variable it keeps the purpose that it has.
    assert LocalStack(home).kpi("keys", "status", "--json").stdout.count('"purpose": "public"') == 1
