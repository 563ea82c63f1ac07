"""``python -m kpi_<service> openapi``: the document of a service without the service."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from kpi_auth.app import create_app as create_auth
from kpi_auth.settings import AuthSettings
from kpi_content.app import create_app as create_content
from kpi_content.settings import ContentSettings
from kpi_shared.settings import ServiceSettings
from kpi_shared.testing.client import client_of

Create = Callable[[ServiceSettings], FastAPI]


@pytest.mark.parametrize(
    ("package", "settings", "create_app"),
    [("kpi_auth", AuthSettings, create_auth), ("kpi_content", ContentSettings, create_content)],
)
async def test_the_printed_document_is_the_served_one(
    package: str, settings: type[ServiceSettings], create_app: Create, secret_key: str, tmp_path: Path
) -> None:
    printed = _print_document(package, tmp_path)
    address = "postgresql://nobody@127.0.0.1:1/none"
    async with client_of(create_app(settings(database_url=address, paseto_secret_key=secret_key))) as client:
        served = (await client.get("/openapi.json")).json()
    assert printed == json.dumps(served, indent=2, ensure_ascii=False) + "\n"
    assert len(served["paths"]) > 5


def _print_document(package: str, folder: Path) -> str:
    # Isolated, with an empty environment, in a folder without settings.
    command = [sys.executable, "-I", "-m", package, "openapi"]
    result = subprocess.run(command, cwd=folder, env={}, capture_output=True, check=True)
    assert result.stderr == b""
    return result.stdout.decode()
