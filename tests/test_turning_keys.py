"""The key of the tokens turns while all parts run, and a killed one is refused everywhere within seconds."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from kpi_shared.testing.process import free_port, run_command, wait_until
from ring_support import MadeKey, make_local, make_public, ring_text
from stack import PASSWORD, Person, join, run_stack, service_settings

pytestmark = pytest.mark.e2e


@dataclass
class Turning:
    """A running platform whose parts read the files of ``folder``."""

    client: httpx.Client
    auth: Mapping[str, str]
    folder: Path

    def write(self, keys: Mapping[MadeKey, str]) -> None:
        write_rings(self.folder, keys)

    def holders(self) -> dict[str, dict[str, str]]:
        with psycopg.connect(self.auth["DATABASE_URL"]) as connection:
            return dict(connection.execute("SELECT part, keys FROM token_key_holders").fetchall())

    def wait_for(self, keys: Mapping[MadeKey, str]) -> None:
        expected = {made.kid: state for made, state in keys.items() if state != "retired"}
        wait_until(lambda: list(self.holders().values()) == [expected] * 3)

    def kill(self, made: MadeKey) -> None:
        run_command("kpi_auth", "keys", settings=self.auth, given=json.dumps({"action": "kill", "kid": made.kid}))

    def statuses(self, token: str) -> list[int]:
        """Of auth and content, through the gateway."""
        headers = {"Authorization": f"Bearer {token}"}
        paths = ("/api/v1/auth/me", "/api/v1/posts?mine=true")
        return [self.client.get(path, headers=headers).status_code for path in paths]

    def sign_in(self, person: Person) -> str:
        given = {"username": person.username, "password": PASSWORD}
        return str(self.client.post("/api/v1/auth/login", json=given).json()["access_token"])


def write_rings(folder: Path, keys: Mapping[MadeKey, str]) -> None:
    """First for those that verify, then for auth."""
    for name, mints in (("verifiers.json", False), ("ring.json", True)):
        (folder / "new").write_text(ring_text(keys, mints=mints))
        (folder / "new").replace(folder / name)


@contextmanager
def turning(make: Callable[[], MadeKey], worker: str, folder: Path) -> Iterator[tuple[Turning, MadeKey]]:
    first = make()
    write_rings(folder, {first: "active"})
    purpose = "local" if make is make_local else "public"
    databases = service_settings(f"turning_{worker}", secrets.token_hex(32))
    keys = {"TOKEN_PURPOSE": purpose, "PASETO_KEYS_FILE": str(folder / "verifiers.json")}
    port, internal = str(free_port()), secrets.token_hex(32)
    of_auth = {"PASETO_KEYS_FILE": str(folder / "ring.json"), "INTERNAL_PORT": port, "INTERNAL_KEY": internal}
    lasting = {"AUTH_SECRET_KEY": secrets.token_hex(32)}
    settings = {
        "auth": {"DATABASE_URL": databases["auth"]["DATABASE_URL"], **keys, **of_auth, **lasting},
        "content": {"DATABASE_URL": databases["content"]["DATABASE_URL"], **keys},
    }
    gateway = {"AUTH_INTERNAL_URL": f"http://127.0.0.1:{port}", "INTERNAL_KEY": internal, **keys}
    counting = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_REQUESTS": "100000"}
    with (
        run_stack(settings, folder, limits={**gateway, **counting}) as stack,
        httpx.Client(base_url=stack.gateway, timeout=20) as client,
    ):
        yield Turning(client, settings["auth"], folder), first


@pytest.mark.parametrize("make", [make_local, make_public])
def test_a_key_turns_and_is_killed_while_all_parts_run(
    make: Callable[[], MadeKey], worker: str, tmp_path: Path
) -> None:
    with turning(make, worker, tmp_path) as (platform, first):
        anna, second, third = join(platform.client), make(), make()
        key = platform.client.post(
            "/api/v1/api-keys", json={"name": "x", "scopes": "read"}, headers=anna.headers
        ).json()["key"]
        assert platform.statuses(anna.token) == [200, 200]
        steps: list[dict[MadeKey, str]] = [
            {first: "active", second: "next"},
            {first: "verify-only", second: "active"},
            {second: "active", third: "next"},
        ]
        for step in steps[:2]:
            platform.write(step)
            platform.wait_for(step)
            assert platform.statuses(anna.token) == [200, 200]
        new = platform.sign_in(anna)
        assert platform.statuses(new) == [200, 200]
        platform.write(steps[2])
        platform.wait_for(steps[2])
        assert platform.statuses(anna.token) == [401, 401]
        assert platform.statuses(new) == [200, 200]
        assert platform.client.get("/api/v1/posts?mine=true", headers={"X-API-Key": key}).status_code == 200
        # The files still say that it is active.
        platform.kill(second)
        wait_until(lambda: platform.statuses(new) == [401, 401])
        wait_until(lambda: platform.client.get("/api/v1/posts?mine=true", headers={"X-API-Key": key}).is_success)
        assert platform.statuses(platform.sign_in(anna)) == [200, 200]
        platform.wait_for({third: "active"})
    for log in tmp_path.glob("*.log"):
        assert not any(made.minting[10:] in log.read_text() for made in (first, second, third))
