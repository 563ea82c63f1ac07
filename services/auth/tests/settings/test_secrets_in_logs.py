"""No secret of the service is in its log, at the most detailed level and with every source of secrets in use."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from auth_support import PASSWORD, registration
from kpi_auth.settings import PART
from kpi_shared.migrations import upgrade
from kpi_shared.settings import database_settings_of
from kpi_shared.testing.postgres import create_database
from kpi_shared.testing.process import free_port, start_part
from mail_servers import MailServer, serving
from moto.server import ThreadedMotoServer
from pydantic import SecretStr
from sqlalchemy import make_url

AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-" + "k" * 32, "AWS_REGION": "eu-central-1"}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    yield f"http://127.0.0.1:{server._port}"
    server.stop()


async def test_no_log_line_contains_a_secret(aws: str, worker: str, tmp_path: Path) -> None:
    values = {name: secrets.token_hex(16) for name in ("database", "mail", "unused")}
    url = make_url(create_database(f"auth_secrets_{worker}")).set(password=values["database"])
    database_url = url.render_as_string(hide_password=False)
    values["key"] = secrets.token_hex(32)
    content = {"DATABASE_URL": database_url, "PASETO_SECRET_KEY": values["key"], "UNUSED": values["unused"]}
    manager = boto3.client("secretsmanager", region_name=AWS["AWS_REGION"], endpoint_url=aws)
    manager.create_secret(Name="kpi/all", SecretString=json.dumps(content))
    upgrade(PART, database_settings_of(PART)(database_url=SecretStr(database_url)))
    log = tmp_path / "auth.log"
    mail_server = MailServer()
    async with serving(mail_server, authenticator=mail_server.authenticate, auth_require_tls=False) as server:
        environment = AWS | {
            "AWS_SECRETS_ENABLED": "true",
            "AWS_SECRET_NAME": "kpi/all",
            "AWS_ENDPOINT_URL": aws,
            "MAIL_URL": server.url.replace("//", f"//anna:{values['mail']}@"),
            "LOG_LEVEL": "DEBUG",
            "DEBUG": "true",
            "DATABASE_ECHO": "true",
        }
        with start_part("kpi_auth", environment, log=log) as address:
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                registered = await client.post("/users", json=registration("anna"))
                assert registered.status_code == 201
                tokens = (await client.post("/auth/login", json={"username": "anna", "password": PASSWORD})).json()
                headers = {"Authorization": f"Bearer {tokens['access_token']}"}
                assert (await client.get("/users", headers=headers)).status_code == 200
                async with asyncio.timeout(60):
                    while not all(  # noqa: ASYNC110 the log is written by another process
                        part in log.read_text() for part in ('"mail_id"', '"GET", "path": "/users"')
                    ):
                        await asyncio.sleep(0.05)
    text = log.read_text()
    shown = values | {"password": PASSWORD, "access": tokens["access_token"], "refresh": tokens["refresh_token"]}
    shown["aws"] = AWS["AWS_SECRET_ACCESS_KEY"]
    assert [name for name, value in shown.items() if value in text] == []
    # The statement of the registration, once.
    assert text.count("INSERT INTO users") == 1
