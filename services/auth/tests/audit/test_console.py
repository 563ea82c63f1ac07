"""The command ``python -m kpi_auth verify-audit``, as a real process."""

import json
import subprocess
import sys
from typing import Any

import pytest
from audit_support import Trail
from kpi_shared.testing.process import clean_environment


def run(trail: Trail, **request: object) -> "subprocess.CompletedProcess[str]":
    settings = trail.settings
    secrets = {"PASETO_SECRET_KEY": settings.paseto_secret_key, "AUTH_SECRET_KEY": settings.auth_secret_key}
    given_secrets = {name: secret.get_secret_value() for name, secret in secrets.items() if secret}
    environment = clean_environment({"DATABASE_URL": settings.database_url.get_secret_value(), **given_secrets})
    line = [sys.executable, "-m", "kpi_auth", "verify-audit"]
    given = json.dumps(request)
    return subprocess.run(line, env=environment, input=given, capture_output=True, text=True, check=False)


def report(result: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    ("statement", "wrong", "seq"),
    [
        ("UPDATE audit_events SET actor_id = 1 WHERE seq = 5", "changed", 5),
        ("DELETE FROM audit_events WHERE seq = 5", "removed", 5),
        (
            "INSERT INTO audit_events (event, seq, hash) SELECT event, 11, hash FROM audit_events WHERE seq = 5",
            "changed",
            11,
        ),
    ],
)
async def test_the_exit_code_is_0_for_a_whole_chain_and_3_for_a_broken_one(
    trail: Trail, statement: str, wrong: str, seq: int
) -> None:
    await trail.add(10)
    await trail.chain()
    whole = run(trail)
    assert whole.returncode == 0, whole.stderr
    assert report(whole) == {
        "ok": True,
        "records": 10,
        "deleted_by_age": 0,
        "waiting": 0,
        "checkpoints": 1,
        "head": report(whole)["head"],
        "problem": None,
    }
    async with trail.owner() as owner:
        await owner.run(statement)
    broken = run(trail, head=report(whole)["head"], tolerance=60)
    assert broken.returncode == 3, broken.stderr
    assert (report(broken)["ok"], report(broken)["problem"]["wrong"], report(broken)["problem"]["seq"]) == (
        False,
        wrong,
        seq,
    )


@pytest.mark.parametrize("request_", [{"head": "1:ab"}, {"tolerance": 0}, {"other": 1}])
async def test_an_invalid_request_is_one_sentence_and_exit_code_1(trail: Trail, request_: dict[str, object]) -> None:
    result = run(trail, **request_)
    assert (result.returncode, result.stdout) == (1, "")
    [sentence] = result.stderr.splitlines()
    assert sentence.startswith(f"kpi-auth: {next(iter(request_))}: ")
