"""``python -m kpi_<service> openapi``: the document of a service without the service."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from fastapi import FastAPI
from kpi_cli.parts import SERVICES
from kpi_shared.http.conditional import ChangedMeanwhileError
from kpi_shared.testing.client import client_of


@pytest.mark.parametrize("package", [part.package for part in SERVICES])
async def test_the_printed_document_is_the_served_one(
    package: str, secret_key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    printed = _print_document(package, tmp_path)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("PASETO_SECRET_KEY", secret_key)
    create_app: Callable[[], FastAPI] = import_module(f"{package}.app").create_app
    async with client_of(create_app()) as client:
        served = (await client.get("/openapi.json")).json()
    assert printed == json.dumps(served, indent=2, ensure_ascii=False) + "\n"
    assert len(served["paths"]) > 3


def _print_document(package: str, folder: Path) -> str:
    # Isolated, with an empty environment, in a folder without settings.
    command = [sys.executable, "-I", "-m", package, "openapi"]
    result = subprocess.run(command, cwd=folder, env={}, capture_output=True, check=True)
    assert result.stderr == b""
    return result.stdout.decode()


# POSTs that create something without an Idempotency-Key, and why.
NOT_RETRIED = {
    "/api/v1/bootstrap": "it works once by itself, and its code is the key",
}
# POSTs that replace something by a new secret, without a 201.
RETRIED_TOO = {"/api/v1/webhooks/{webhook_id}/rotate-secret"}


def test_every_post_that_creates_documents_its_safe_retries() -> None:
    document = json.loads((Path(__file__).parents[1] / "docs" / "openapi.json").read_text())
    posts = {path: item["post"] for path, item in document["paths"].items() if "post" in item}
    creating = {path for path, operation in posts.items() if "201" in operation["responses"]}
    assert len(creating) > 5
    retried = set()
    for path, operation in posts.items():
        names = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"}
        if "Idempotency-Key" in names:
            retried.add(path)
            assert {"400", "409", "422"} <= set(operation["responses"]), path
            assert "Retry-After" in operation["responses"]["409"]["headers"], path
            successes = [it for status, it in operation["responses"].items() if status.startswith("2")]
            assert all("Idempotency-Replayed" in success["headers"] for success in successes), path
    assert retried == creating - set(NOT_RETRIED) | RETRIED_TOO


def test_no_other_method_has_an_idempotency_key() -> None:
    document = json.loads((Path(__file__).parents[1] / "docs" / "openapi.json").read_text())
    others = [item[method] for item in document["paths"].values() for method in item if method != "post"]
    parameters = [
        each for operation in others if isinstance(operation, dict) for each in operation.get("parameters", ())
    ]
    assert len(parameters) > 20
    assert [each for each in parameters if each.get("name") == "Idempotency-Key"] == []


def test_a_version_that_has_changed_is_one_problem_with_one_title() -> None:
    """A type of problems has one title, whatever the request is about (RFC 9457, section 3.1.3)."""
    document = json.loads((Path(__file__).parents[1] / "docs" / "openapi.json").read_text())
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    failed = [each["responses"]["412"] for each in operations if isinstance(each, dict) and "412" in each["responses"]]
    assert len(failed) > 10
    assert {response["description"] for response in failed} == {ChangedMeanwhileError.title}
