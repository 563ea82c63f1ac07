"""The keys of the tokens are replaced in AWS Secrets Manager while auth and content run with them."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from kpi_cli.parts import SERVICES
from kpi_shared.testing.process import clean_environment, run_command
from moto.server import ThreadedMotoServer
from ring_support import make_local, ring_text
from stack import PASSWORD, Stack, join, run_stack, service_settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="another stack is tested"),
]
AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-central-1"}


@dataclass(frozen=True)
class Installation:
    stack: Stack
    environment: dict[str, str]

    def kpi(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "kpi_cli", "keys", *arguments, "--json"]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def installation(worker: str, secret_key: str, endpoint: str, tmp_path: Path) -> Iterator[Installation]:
    settings = service_settings(f"aws_{worker}", secret_key)
    ring = {"PASETO_KEYS": ring_text({make_local(): "active"})}
    client = boto3.client(
        "secretsmanager", endpoint_url=endpoint, region_name=AWS["AWS_REGION"], aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )  # fmt: skip
    for name, own in settings.items():
        own |= {**AWS, "AWS_ENDPOINT_URL": endpoint, "AWS_SECRETS_ENABLED": "true", "AWS_SECRET_NAME": f"e2e/{name}"}
        own |= {"AWS_SECRETS_REFRESH": "1"}
        del own["PASETO_SECRET_KEY"]
        client.create_secret(Name=f"e2e/{name}", SecretString=json.dumps(ring))
    client.close()
    settings["auth"]["AUTH_SECRET_KEY"] = secrets.token_hex(32)
    with run_stack(settings, tmp_path) as stack:
        yield Installation(stack, clean_environment(settings["auth"]))


def test_a_rotation_in_aws_reaches_parts_that_run(installation: Installation) -> None:
    place = ("--aws", "e2e/auth")
    with httpx.Client(base_url=installation.stack.gateway, timeout=30) as client:
        anna = join(client)
        before = installation.kpi("status", *place)["keys"][0]
        assert before["held_by"] == {part.name: "1 of 1" for part in SERVICES}
        copies = [word for part in SERVICES if part.name != "auth" for word in ("--copy", f"e2e/{part.name}")]
        rotated = installation.kpi("rotate", *place, *copies, "--wait", "3")
        assert rotated["active"] != before["kid"]
        assert [key["state"] for key in installation.kpi("status", *place)["keys"]] == ["active", "retired"]
        again = client.post("/auth/login", json={"username": anna.username, "password": PASSWORD}).json()
        headers = {"Authorization": f"Bearer {again['access_token']}"}
        made = client.post("/posts", json={"title": "With the new key", "content": ""}, headers=headers)
        assert made.status_code == 201
    report = json.loads(run_command("kpi_auth", "check", settings=installation.environment))
    assert report["ok"], report
