"""``kpi secrets push``: settings from a filled-in template into AWS Secrets Manager."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kpi_cli import keys
from kpi_cli.errors import KPI, FailureError

if TYPE_CHECKING:
    from types_boto3_secretsmanager.client import SecretsManagerClient

PLACEHOLDER = re.compile(r"<[^>]*>|change.?me|replace.?me|\bexample\b|\byour[-_]|\btodo\b|\bxxx", re.IGNORECASE)
LONGEST_MINUTES = 60 * 24


def push(template: Path, *, name: str, region: str, endpoint_url: str | None = None) -> str:
    """Create or update the secret; returns ``created`` or ``updated``. No message ever holds a value."""
    secret = json.dumps(read(template))
    try:
        # Short and few: someone waits at a terminal for the answer.
        patience = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
        client = boto3.client("secretsmanager", region_name=region, endpoint_url=endpoint_url, config=patience)
        return _put(client, name, secret)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown error")
        raise _refused(name, region, f"AWS answers {code}") from error
    except (BotoCoreError, ValueError) as error:
        # ValueError is what botocore raises for an endpoint that is no URL.
        raise _refused(name, region, str(error)) from error


def read(template: Path) -> dict[str, str]:
    """The settings of a filled-in template; raises FailureError for what a part would refuse at its start."""
    values = _object(template)
    for name, value in values.items():
        if name not in CHECKS:
            raise _bad(template, name, f"no such setting belongs here, only {', '.join(CHECKS)}")
        problem = _problem(name, value)
        if problem:
            raise _bad(template, name, problem)
    return {name: str(value) for name, value in values.items()}


def _object(template: Path) -> dict[str, object]:
    try:
        values = json.loads(template.read_text(encoding="utf-8"))
    except OSError as error:
        raise FailureError("secrets", f"{template}: {error.strerror}", fix="name a filled-in template") from error
    except ValueError as error:
        # The parser's own message may quote the text, and with it a secret.
        raise FailureError("secrets", f"{template} is not JSON", fix=_fix()) from error
    if not isinstance(values, dict) or not values:
        raise FailureError("secrets", f"{template} is not a JSON object with settings", fix=_fix())
    return values


def _problem(name: str, value: object) -> str:
    text = str(value)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return "a text needed"
    return "it is still a placeholder" if PLACEHOLDER.search(text) else CHECKS[name](text)


def _database_url(value: str) -> str:
    if not re.fullmatch(r"postgres(ql)?(\+\w+)?://[^:/@\s]+:[^@/\s]+@[^/@\s]+/[^/\s]+", value):
        return "postgresql://user:password@host:port/database needed"
    return ""


def _minutes(value: str) -> str:
    good = value.isdecimal() and 1 <= int(value) <= LONGEST_MINUTES
    return "" if good else f"a whole number of minutes from 1 to {LONGEST_MINUTES} needed"


def _origins(value: str) -> str:
    origins = [origin.strip() for origin in value.split(",") if origin.strip()]
    good = all(re.fullmatch(r"https?://[^/\s,*]+", origin) for origin in origins)
    return "" if good else "origins like https://a.test,https://b.test needed, without paths and wildcards"


CHECKS: dict[str, Callable[[str], str]] = {
    "DATABASE_URL": _database_url,
    "PASETO_SECRET_KEY": keys.problem,
    "ACCESS_TOKEN_EXPIRE_MINUTES": _minutes,
    "CORS_ORIGINS": _origins,
}


def _put(client: "SecretsManagerClient", name: str, secret: str) -> str:
    try:
        client.create_secret(Name=name, SecretString=secret)
    except client.exceptions.ResourceExistsException:
        client.put_secret_value(SecretId=name, SecretString=secret)
        return "updated"
    return "created"


def _bad(template: Path, name: str, problem: str) -> FailureError:
    return FailureError("secrets", f"{template}: {name}: {problem}", fix=_fix())


def _fix() -> str:
    example = Path(__file__).parent / "templates" / "secret.json.example"
    return f"start from a copy of {example}, with a key from: {KPI} keys new"


def _refused(name: str, region: str, problem: str) -> FailureError:
    return FailureError(
        "secrets",
        f"the secret {name} in {region} was not written: {problem}",
        fix="allow CreateSecret and PutSecretValue to who this shows: aws sts get-caller-identity",
    )
