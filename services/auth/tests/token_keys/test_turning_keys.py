"""Keys that turn while a real process serves: through its key ring in a file, and through the command of operators."""

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from auth_support import PASSWORD, registration
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import clean_environment, free_port, launch_part, wait_until
from ring_support import MadeKey, make_local, make_public, ring_text

KEY_OF = {"content": "FEED_KEY", "gateway": "INTERNAL_KEY"}


class Auth:
    """A process of auth, and the file of its key ring."""

    def __init__(self, address: str, settings: Mapping[str, str], make: Callable[[], MadeKey]) -> None:
        self.address = address
        self.settings = settings
        self.make = make
        self.path = Path(settings["PASETO_KEYS_FILE"])

    def write(self, keys: Mapping[MadeKey, str]) -> None:
        replace_file(self.path, ring_text(keys))

    def sign_in(self, username: str) -> httpx.Response:
        return httpx.post(f"{self.address}/auth/login", json={"username": username, "password": PASSWORD})

    def token(self, username: str) -> str:
        response = self.sign_in(username)
        assert response.status_code == 200, response.text
        return str(response.json()["access_token"])

    def status_of(self, token: str) -> int:
        return httpx.get(f"{self.address}/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code

    def command(self, **request: str) -> dict[str, Any]:
        line = [sys.executable, "-m", "kpi_auth", "keys"]
        environment = clean_environment(dict(self.settings))
        done = subprocess.run(
            line, env=environment, input=json.dumps(request), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def report(self, key: str, made: MadeKey, **changes: object) -> httpx.Response:
        url = f"http://127.0.0.1:{self.settings['INTERNAL_PORT']}/internal/token-keys/holders"
        report = {"instance": "host-1", "purpose": self.settings["TOKEN_PURPOSE"], "keys": {made.kid: "active"}}
        return httpx.post(url, json=report | changes, headers={"Authorization": f"Bearer {self.settings[key]}"})

    def holders(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.command(action="holders")["holders"]
        return found


def replace_file(path: Path, text: str) -> None:
    temporary = path.with_name("new")
    temporary.write_text(text)
    temporary.replace(path)


def kid_of(token: str) -> str:
    footer = token.rpartition(".")[2]
    return str(json.loads(base64.urlsafe_b64decode(footer + "=" * (-len(footer) % 4)))["kid"])


@pytest.fixture(scope="module")
def database_url(worker: str) -> str:
    return create_migrated_database("kpi_auth", f"auth_turning_{worker}")


@pytest.fixture(params=["local", "public"])
def auth(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[tuple[Auth, MadeKey]]:
    with psycopg.connect(database_url) as connection:
        # The processes of other tests.
        connection.execute("DELETE FROM token_key_holders")
    make = make_local if request.param == "local" else make_public
    first = make()
    (tmp_path / "ring").write_text(ring_text({first: "active"}))
    settings = {
        "DATABASE_URL": database_url,
        "TOKEN_PURPOSE": request.param,
        "PASETO_KEYS_FILE": str(tmp_path / "ring"),
        "AUTH_SECRET_KEY": secrets.token_hex(32),
        "INTERNAL_PORT": str(free_port()),
        "INTERNAL_KEY": secrets.token_hex(32),
        "FEED_KEY": secrets.token_hex(32),
        "ARGON2_MEMORY_KIB": "64",
        "ARGON2_TIME_COST": "1",
    }
    with launch_part("kpi_auth", settings, log=tmp_path / "auth.log") as part:
        found = Auth(part.address, settings, make)
        httpx.post(f"{part.address}/users", json=registration("anna"))
        yield found, first
    log = (tmp_path / "auth.log").read_text()
    assert first.minting[10:] not in log


def test_a_rotation_refuses_no_token_before_its_key_is_retired(auth: tuple[Auth, MadeKey]) -> None:
    process, first = auth
    second = process.make()
    old = process.token("anna")
    assert (kid_of(old), process.status_of(old)) == (first.kid, 200)
    process.write({first: "active", second: "next"})
    wait_until(lambda: process.holders()[0]["keys"] == {first.kid: "active", second.kid: "next"})
    process.write({first: "verify-only", second: "active"})
    wait_until(lambda: kid_of(process.token("anna")) == second.kid)
    new = process.token("anna")
    assert (process.status_of(old), process.status_of(new)) == (200, 200)
    process.write({first: "retired", second: "active"})
    wait_until(lambda: process.status_of(old) == 401)
    assert process.status_of(new) == 200


def test_a_ring_that_cannot_be_used_changes_nothing(auth: tuple[Auth, MadeKey], tmp_path: Path) -> None:
    process, first = auth
    token = process.token("anna")
    process.path.write_text(ring_text({first: "active"})[:-20])
    wait_until(lambda: "key ring cannot be used" in (tmp_path / "auth.log").read_text())
    assert (process.status_of(token), kid_of(process.token("anna"))) == (200, first.kid)
    process.path.write_text(ring_text({first: "active"}))
    wait_until(lambda: "key ring can be used again" in (tmp_path / "auth.log").read_text())


def test_a_killed_key_is_refused_whatever_its_file_says(auth: tuple[Auth, MadeKey]) -> None:
    process, first = auth
    second = process.make()
    process.write({first: "active", second: "next"})
    wait_until(lambda: second.kid in process.holders()[0]["keys"])
    old = process.token("anna")
    assert process.command(action="kill", kid=first.kid) == {"killed": first.kid, "is_new": True}
    wait_until(lambda: process.status_of(old) == 401)
    assert kid_of(process.token("anna")) == second.kid
    assert process.command(action="kill", kid=first.kid) == {"killed": first.kid, "is_new": False}
    process.write({first: "active"})
    wait_until(lambda: process.sign_in("anna").status_code == 503)
    refused = process.sign_in("anna")
    assert (refused.json()["type"], refused.headers["retry-after"]) == ("no-active-key", "1")
    assert process.status_of(old) == 401
    process.write({second: "active"})
    wait_until(lambda: process.sign_in("anna").status_code == 200)


def test_processes_report_their_keys_each_with_the_key_of_its_part(auth: tuple[Auth, MadeKey]) -> None:
    process, first = auth
    for part, name in KEY_OF.items():
        response = process.report(name, first, part=part, instance=f"{part}-1")
        assert response.status_code == 200, response.text
        assert first.kid not in response.json()["killed"]
    wrong = process.report("FEED_KEY", first, part="content", keys={"k4.local.AAAA": "active"})
    assert wrong.status_code == 422
    named = {each["part"]: each["instance"] for each in process.holders() if each["part"] != "auth"}
    assert named == {"content": "content-1", "gateway": "gateway-1"}
    assert [each["keys"] for each in process.holders() if each["part"] == "auth"] == [{first.kid: "active"}]
    # Auth need not know which services follow it.
    assert process.report("FEED_KEY", first, part="billing", instance="billing-1").status_code == 200


def test_no_key_reports_as_another_part_or_in_the_name_of_its_process(auth: tuple[Auth, MadeKey]) -> None:
    process, first = auth
    before = process.holders()
    for name, part in (("FEED_KEY", "auth"), ("FEED_KEY", "gateway"), ("INTERNAL_KEY", "content")):
        refused = process.report(name, first, part=part, instance=before[0]["instance"])
        assert (refused.status_code, refused.json()["type"]) == (403, "part-of-another-key")
    refused = process.report("FEED_KEY", first, part="content", instance=before[0]["instance"])
    assert (refused.status_code, refused.json()["type"]) == (409, "instance-taken")
    assert process.holders() == before


def test_a_stolen_key_reports_neither_endless_processes_nor_endless_keys(auth: tuple[Auth, MadeKey]) -> None:
    process, first = auth
    with psycopg.connect(process.settings["DATABASE_URL"]) as connection:
        connection.execute(
            "INSERT INTO token_key_holders (instance, part, purpose, keys) "
            "SELECT 'forged-' || number, CASE WHEN number > 19 THEN 'content' ELSE 'other' || number END, "
            "'local', '{}' FROM generate_series(1, 119) AS number"
        )
    refused = process.report("FEED_KEY", first, part="content", instance="one-more")
    assert (refused.status_code, refused.json()["type"]) == (409, "too-many-instances")
    # With content there are 20 services; those of a further one are refused, those of another one are not.
    refused = process.report("FEED_KEY", first, part="zzz", instance="one-more")
    assert (refused.status_code, refused.json()["type"]) == (409, "too-many-instances")
    assert process.report("FEED_KEY", first, part="other1", instance="another").status_code == 200
    # Those that are known go on, and the processes of other parts are not concerned.
    assert process.report("FEED_KEY", first, part="content", instance="forged-70").status_code == 200
    assert process.report("INTERNAL_KEY", first, part="gateway", instance="one-more").status_code == 200
    many = {f"k4.lid.{number:044}": "verify-only" for number in range(21)}
    assert process.report("INTERNAL_KEY", first, part="gateway", keys=many).status_code == 422
    many.popitem()
    assert process.report("INTERNAL_KEY", first, part="gateway", keys=many).status_code == 200


def test_operators_and_probes_see_that_an_old_ring_lists_a_killed_key(auth: tuple[Auth, MadeKey]) -> None:
    process, first = auth

    def state() -> tuple[int, str]:
        ready = httpx.get(f"{process.address}/health/ready")
        return ready.status_code, ready.json()["checks"]["token keys"]

    assert state() == (200, "ok")
    assert first.kid not in process.command(action="holders")["killed"]
    process.command(action="kill", kid=first.kid)
    wait_until(lambda: state() == (200, "no key is active: no token can be issued"))
    assert first.kid in process.command(action="holders")["killed"]


def test_how_long_tokens_live_is_said_by_the_processes_that_mint_them(auth: tuple[Auth, MadeKey]) -> None:
    process, _ = auth
    # The shell of an operator has another setting, or none.
    asking = Auth(process.address, process.settings | {"ACCESS_TOKEN_EXPIRE_MINUTES": "1"}, process.make)
    assert asking.command(action="holders")["token_seconds"] == 15 * 60
