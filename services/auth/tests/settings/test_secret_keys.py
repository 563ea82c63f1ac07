"""The secret of auth that outlives the keys of the tokens."""

import json
import os
import subprocess
import sys

import pytest
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.secret_keys import SecretKeys
from kpi_shared.settings import Environment
from kpi_shared.testing.process import clean_environment
from pydantic import SecretStr

TOKENS, OWN, FORMER, OLD_TOKENS = (SecretStr(os.urandom(32).hex()) for _ in range(4))
URL = "postgresql://kpi:a-password@127.0.0.1:9/kpi"
PURPOSE = b"test"


def keys(**settings: SecretStr | tuple[SecretStr, ...]) -> tuple[bytes, ...]:
    return SecretKeys(AuthSettings(database_url=SecretStr(URL), **settings)).derive(PURPOSE)  # type: ignore[arg-type]


def test_the_own_secret_comes_first_and_every_former_one_is_accepted() -> None:
    (own,) = keys(paseto_secret_key=OWN)
    (tokens,) = keys(paseto_secret_key=TOKENS)
    (former,) = keys(paseto_secret_key=FORMER)
    assert keys(paseto_secret_key=TOKENS, auth_secret_key=OWN) == (own, tokens)
    # A rolling change: every replica accepts the new secret before one uses it.
    assert keys(paseto_secret_key=TOKENS, auth_previous_secret_keys=(FORMER,)) == (tokens, former)
    replaced = keys(paseto_secret_key=TOKENS, auth_secret_key=OWN, auth_previous_secret_keys=(FORMER,))
    assert replaced[0] == own
    assert set(replaced) == {own, former, tokens}


def test_each_purpose_has_a_key_of_its_own() -> None:
    settings = AuthSettings(database_url=SecretStr(URL), paseto_secret_key=TOKENS, auth_secret_key=OWN)
    derived = SecretKeys(settings)
    assert not set(derived.derive(b"one")) & set(derived.derive(b"two"))
    assert bytes.fromhex(OWN.get_secret_value()) not in derived.derive(b"one")


@pytest.mark.parametrize(("environment", "ok"), [("production", False), ("development", True)])
def test_check_reports_a_missing_secret_and_production_needs_one(environment: str, ok: bool) -> None:
    def check(**more: str) -> dict[str, object]:
        values = {"DATABASE_URL": URL, "PASETO_SECRET_KEY": TOKENS.get_secret_value(), "CONFIG_DIR": os.devnull}
        result = subprocess.run(
            [sys.executable, "-m", "kpi_auth", "check", "--env", environment],
            env=clean_environment({**values, **more}),
            capture_output=True,
            text=True,
            check=False,
        )
        found = {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}
        return dict(found["secret key"])

    missing, present = check(), check(AUTH_SECRET_KEY=OWN.get_secret_value())
    assert (missing["ok"], bool(missing["fix"])) == (ok, not ok)
    assert "AUTH_SECRET_KEY is not set" in str(missing["detail"])
    assert (present["ok"], present["detail"]) == (True, "set")


@pytest.mark.parametrize("environment", Environment)
def test_check_reports_that_the_feed_has_no_key(environment: Environment) -> None:
    settings = AuthSettings(database_url=SecretStr(URL), paseto_secret_key=TOKENS, app_env=environment)
    with_key = {"internal_port": 8011, "internal_key": OWN, "feed_key": FORMER, "app_env": environment}
    complete = AuthSettings(database_url=SecretStr(URL), paseto_secret_key=TOKENS, **with_key)
    missing, present = (
        next(each for each in found.findings if each["check"] == "feed") for found in (settings, complete)
    )
    assert (missing["ok"], present["ok"]) == (environment is not Environment.PRODUCTION, True)
    assert "FEED_KEY is not set" in str(missing["detail"])
    assert present["detail"] == "set"
