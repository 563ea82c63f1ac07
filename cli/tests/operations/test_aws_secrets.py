"""``kpi secrets push`` against moto's server over HTTP."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from kpi_cli import keys
from kpi_cli.errors import FailureError
from kpi_cli.operations import aws_secrets
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
URL = "postgresql://kpi_auth:a-password@db.test:5432/kpi_auth"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def template(folder: Path, **values: object) -> Path:
    file = folder / "secret.json"
    file.write_text(json.dumps(values))
    return file


def read_secret(endpoint: str, name: str) -> dict[str, str]:
    client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=endpoint)
    values: dict[str, str] = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
    client.close()
    return values


def test_push_creates_then_updates(endpoint: str, tmp_path: Path) -> None:
    first, second = keys.generate(), keys.generate()
    made = template(tmp_path, DATABASE_URL=URL, PASETO_SECRET_KEY=first, ACCESS_TOKEN_EXPIRE_MINUTES=15)
    assert aws_secrets.push(made, name="kpi/auth", region=REGION, endpoint_url=endpoint) == "created"
    assert read_secret(endpoint, "kpi/auth") == {
        "DATABASE_URL": URL,
        "PASETO_SECRET_KEY": first,
        "ACCESS_TOKEN_EXPIRE_MINUTES": "15",
    }
    changed = template(tmp_path, PASETO_SECRET_KEY=second, CORS_ORIGINS="https://a.test, http://localhost:3000")
    assert aws_secrets.push(changed, name="kpi/auth", region=REGION, endpoint_url=endpoint) == "updated"
    assert read_secret(endpoint, "kpi/auth")["PASETO_SECRET_KEY"] == second


def test_a_template_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    made = template(tmp_path, ACCESS_TOKEN_EXPIRE_MINUTES=15)
    made.write_bytes(codecs.BOM_UTF8 + made.read_bytes())
    assert aws_secrets.read_template(made) == {"ACCESS_TOKEN_EXPIRE_MINUTES": "15"}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("DATABASE_URL", "mysql://a:b@c/d", "postgresql://user:password@host:port/database is required"),
        ("DATABASE_URL", "postgresql://host/database", "postgresql://user:password@host:port/database is required"),
        ("DATABASE_URL", "postgresql://a:changeme@c/d", "it is still a placeholder"),
        ("PASETO_SECRET_KEY", "f" * 36, "64 hex digits are required, but it has 36 characters"),
        ("PASETO_SECRET_KEY", "0" * 64, "it is all zeros"),
        ("PASETO_KEYS", '{"purpose": "local"}', "a JSON object with"),
        ("PASETO_KEYS", '{"purpose": "local", "keys": []}', "one key has to be active"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "0", "a whole number of minutes"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", [15], "a string is required"),
        ("CORS_ORIGINS", "*", "origins like"),
        ("CORS_ORIGINS", "https://a.test/path", "origins like"),
        ("CORS_ORIGINS", "https://a.test:443", "origins like"),
        ("CORS_ORIGINS", "http://a.test:80", "origins like"),
        ("CORS_ORIGINS", "https://a.test:0", "origins like"),
        ("CORS_ORIGINS", "https://a.test:65536", "origins like"),
        ("DEBUG", "true", "it is not one of the settings of this template"),
    ],
)
def test_template_that_a_part_would_refuse_is_refused(tmp_path: Path, name: str, value: object, problem: str) -> None:
    with pytest.raises(FailureError) as caught:
        aws_secrets.read_template(template(tmp_path, **{name: value}))
    assert f"{name}: {problem}" in caught.value.sentence


def test_message_holds_no_value(tmp_path: Path) -> None:
    file = tmp_path / "secret.json"
    file.write_text('{"PASETO_SECRET_KEY": "' + "ab12" * 9 + '", }')
    with pytest.raises(FailureError, match="is not JSON") as caught:
        aws_secrets.read_template(file)
    assert "ab12" not in "".join(caught.value.lines())


def test_committed_template_names_every_setting_and_is_refused_as_it_is() -> None:
    example = Path(aws_secrets.__file__).parent / "templates" / "secret.json.example"
    assert list(json.loads(example.read_text())) == list(aws_secrets.CHECKS)
    with pytest.raises(FailureError, match="still a placeholder"):
        aws_secrets.read_template(example)


def test_unreachable_endpoint_names_the_secret_and_no_value(tmp_path: Path) -> None:
    key = keys.generate()
    file = template(tmp_path, PASETO_SECRET_KEY=key)
    with pytest.raises(FailureError, match="the secret kpi/auth in eu-central-1 was not written") as caught:
        aws_secrets.push(file, name="kpi/auth", region=REGION, endpoint_url="http://127.0.0.1:9")
    assert key not in "".join(caught.value.lines())
