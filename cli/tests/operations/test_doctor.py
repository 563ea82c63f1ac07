"""``kpi doctor`` on a running, a stopped, a killed and a damaged stack, with stand-ins for the parts."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from cli_harness import Checkout
from kpi_cli import parts


def test_doctor_finds_nothing_wrong_and_leaves_nothing_running(checkout: Checkout) -> None:
    result = checkout.kpi("doctor", "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 0, result.stdout
    assert report["ok"] is True
    checks = {finding["check"] for finding in report["findings"]}
    assert {"python", "libsodium", "disk", "clock", "gateway port", "key", "postgres"} <= checks
    assert {"auth migrations", "content migrations"} <= checks
    assert checkout.processes() == []


def test_doctor_reports_what_is_wrong_and_how_to_fix_it(checkout: Checkout) -> None:
    checkout.order("sick-content")
    key = checkout.home / "secrets" / "auth_secret_key"
    key.write_text("0" * 64 + "\n")
    result = checkout.kpi("doctor", "--json", PASETO_SECRET_KEY="x" * 36)
    wrong = {
        finding["detail"]: finding["fix"] for finding in json.loads(result.stdout)["findings"] if not finding["ok"]
    }
    assert result.returncode == 1
    # The local stack does not use the shell's key, so that one is reported and is no problem.
    assert (
        "PASETO_SECRET_KEY: 64 hex digits are required, but it has 36 characters; only .venv/bin/kpi run"
        in result.stdout
    )
    assert "export PASETO_SECRET_KEY" not in str(wrong)
    assert any(detail.endswith("auth_secret_key: it is all zeros") for detail in wrong)
    assert wrong["one migration behind"] == ".venv/bin/kpi migrate content"
    assert "x" * 36 not in result.stdout


def test_doctor_before_the_first_start_creates_nothing(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("doctor")
    assert result.returncode == 0, result.stdout
    assert "none yet" in result.stdout
    assert not (empty_checkout.home / "postgres").exists()
    assert not (empty_checkout.home / "secrets").exists()


def findings(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_doctor_reports_the_processes_of_a_killed_run_and_does_not_end_them(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    stack.stop(signal.SIGKILL)
    orphans = checkout.processes()
    found = findings(checkout.kpi("doctor", "--json"))
    assert len(orphans) == len(parts.PARTS) + 1
    assert all(orphan.is_running() for orphan in orphans)
    assert all(str(orphan.pid) in found["leftovers"]["detail"] for orphan in orphans)
    for name in (*(part.name for part in parts.PARTS), "postgres"):
        assert f"{name} (pid " in found["leftovers"]["detail"]
    assert found["leftovers"]["fix"].endswith(", or stop them and start again: make up")
    assert found["gateway port"]["detail"].endswith("is in use by a process that a killed run left")
    # What only a killed run explains is not reported as being in order.
    assert not found["gateway port"]["ok"]
    assert found["gateway port"]["fix"] == found["leftovers"]["fix"]
    assert found["postgres"]["ok"]


def test_doctor_quotes_the_last_line_of_a_database_that_does_not_start(
    checkout: Checkout, other_checkout: Checkout
) -> None:
    (other_checkout.home / "ports.json").write_bytes((checkout.home / "ports.json").read_bytes())
    (other_checkout.home / "postgres" / "global" / "pg_control").unlink()
    before = sorted(other_checkout.home.iterdir())
    found = findings(other_checkout.kpi("doctor", "--json"))["postgres"]
    assert "pg_control" in found["detail"]
    assert f"mv {other_checkout.home}/postgres {other_checkout.home}/postgres-aside && make up" in found["fix"]
    assert "doctor" not in found["fix"]
    assert sorted(other_checkout.home.iterdir()) == before


def test_doctor_with_a_lost_secret_creates_none(checkout: Checkout) -> None:
    lost = checkout.home / "secrets" / "auth_database_password"
    lost.unlink()
    assert "auth_database_password" in findings(checkout.kpi("doctor", "--json"))["secrets"]["detail"]
    assert not lost.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root owns files that root has copied")
def test_the_owner_of_data_that_root_has_copied_is_corrected_by_a_start_and_not_by_doctor(
    checkout: Checkout, other_checkout: Checkout
) -> None:
    (other_checkout.home / "ports.json").write_bytes((checkout.home / "ports.json").read_bytes())
    data = other_checkout.home / "postgres"
    shutil.rmtree(data)
    subprocess.run(["cp", "-r", checkout.home / "postgres", data], check=True)
    found = findings(other_checkout.kpi("doctor", "--json"))["postgres"]
    assert "belongs to root, and PostgreSQL runs as pgserver" in found["detail"]
    assert data.stat().st_uid == 0
    stack = other_checkout.up().wait_until_ready()
    assert stack.stop() == 0
    assert "now belongs to pgserver" in stack.output
    assert {path.stat().st_uid for path in data.rglob("*")} == {data.stat().st_uid}


def test_doctor_reports_keys_of_tokens_that_others_can_read_and_a_key_with_two_uses(checkout: Checkout) -> None:
    secrets = checkout.home / "secrets"
    assert findings(checkout.kpi("doctor", "--json"))["token keys"]["ok"]
    (secrets / "paseto_verifier_keys.json").chmod(0o644)
    shutil.copyfile(secrets / "internal_key", secrets / "feed_key")
    report = json.loads(checkout.kpi("doctor", "--json").stdout)
    wrong = {finding["detail"]: finding["fix"] for finding in report["findings"] if not finding["ok"]}
    assert wrong["internal_key, feed_key are the same key"] == f"rm {secrets / 'feed_key'} && make up"
    (shared,) = (fix for detail, fix in wrong.items() if detail.endswith("other users can read it"))
    assert shared.startswith(f"chmod 600 {secrets / 'paseto_verifier_keys.json'}")


def test_doctor_reports_a_ring_that_cannot_be_used_without_quoting_it(checkout: Checkout) -> None:
    ring = checkout.home / "secrets" / "paseto_keys.json"
    key = json.loads(ring.read_text())["keys"][0]["key"]
    ring.write_text(ring.read_text().replace('"active"', '"asleep"'))
    result = checkout.kpi("doctor", "--json")
    wrong = [finding for finding in json.loads(result.stdout)["findings"] if not finding["ok"]]
    assert any(str(ring) in finding["detail"] for finding in wrong)
    assert key not in result.stdout + result.stderr
