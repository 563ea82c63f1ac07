"""``kpi secrets push``: writes settings from a filled-in template to AWS Secrets Manager."""

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
from kpi_cli.token_keys import ring

if TYPE_CHECKING:
    from types_boto3_secretsmanager.client import SecretsManagerClient

PLACEHOLDER = re.compile(r"<[^>]*>|change.?me|replace.?me|\bexample\b|\byour[-_]|\btodo\b|\bxxx", re.IGNORECASE)
# Browsers omit these, so that an origin with one would match no request.
_DEFAULT_PORTS = {"http": "80", "https": "443"}
LONGEST_MINUTES = 60 * 24


def push(template: Path, *, name: str, region: str, endpoint_url: str | None = None) -> str:
    """Create or update the secret; returns ``created`` or ``updated``. No message holds a value."""
    secret = json.dumps(read_template(template))
    try:
        # Short time-outs and few retries: an operator waits for the result.
        limits = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
        client = boto3.client("secretsmanager", region_name=region, endpoint_url=endpoint_url, config=limits)
        return _put(client, name, secret)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown error")
        raise _write_failure(name, region, f"AWS responds with {code}") from error
    except (BotoCoreError, ValueError) as error:
        # botocore raises ValueError for an endpoint that is not a URL.
        raise _write_failure(name, region, str(error)) from error


def read_template(template: Path) -> dict[str, str]:
    """The settings of a filled-in template; raises FailureError for a value that a part would refuse at its start."""
    values = _load_object(template)
    for name, value in values.items():
        if name not in CHECKS:
            raise _template_failure(
                template, name, f"it is not one of the settings of this template: {', '.join(CHECKS)}"
            )
        problem = _problem(name, value)
        if problem:
            raise _template_failure(template, name, problem)
    return {name: str(value) for name, value in values.items()}


def _load_object(template: Path) -> dict[str, object]:
    try:
        values = json.loads(template.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FailureError(
            "secrets", f"{template}: {error.strerror}", fix="give the path of a filled-in template"
        ) from error
    except ValueError as error:
        # The parser's own message may quote the text and so a secret.
        raise FailureError("secrets", f"{template} is not JSON", fix=_template_fix()) from error
    if not isinstance(values, dict) or not values:
        raise FailureError("secrets", f"{template} is not a JSON object with settings", fix=_template_fix())
    return values


def _problem(name: str, value: object) -> str:
    text = str(value)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return "a string is required"
    return "it is still a placeholder" if PLACEHOLDER.search(text) else CHECKS[name](text)


def _check_database_url(value: str) -> str:
    if not re.fullmatch(r"postgres(ql)?(\+\w+)?://[^:/@\s]+:[^@/\s]+@[^/@\s]+/[^/\s]+", value):
        return "postgresql://user:password@host:port/database is required"
    return ""


def _check_minutes(value: str) -> str:
    good = value.isdecimal() and 1 <= int(value) <= LONGEST_MINUTES
    return "" if good else f"a whole number of minutes from 1 to {LONGEST_MINUTES} is required"


def _check_origins(value: str) -> str:
    origins = [origin.strip() for origin in value.split(",") if origin.strip()]
    if all(_is_origin(origin.lower()) for origin in origins):
        return ""
    return "origins like https://a.test,https://b.test:8443 are required, without paths, wildcards and default ports"


def _check_ring(value: str) -> str:
    try:
        return "" if ring.parse(value, "").active else "one key has to be active"
    except FailureError as failure:
        return failure.sentence.removeprefix(": ")


def _is_origin(origin: str) -> bool:
    found = re.fullmatch(r"(https?)://(?:\[[0-9a-f:.]+\]|[^/\s,*:@]+)(?::([1-9][0-9]{0,4}))?", origin)
    return found is not None and found[2] != _DEFAULT_PORTS[found[1]] and int(found[2] or 1) < 2**16


CHECKS: dict[str, Callable[[str], str]] = {
    "DATABASE_URL": _check_database_url,
    "PASETO_SECRET_KEY": keys.problem,
    "PASETO_KEYS": _check_ring,
    "AUTH_SECRET_KEY": keys.problem,
    "INTERNAL_KEY": keys.problem,
    "ACCESS_TOKEN_EXPIRE_MINUTES": _check_minutes,
    "CORS_ORIGINS": _check_origins,
}


def _put(client: "SecretsManagerClient", name: str, secret: str) -> str:
    try:
        client.create_secret(Name=name, SecretString=secret)
    except client.exceptions.ResourceExistsException:
        client.put_secret_value(SecretId=name, SecretString=secret)
        return "updated"
    return "created"


def _template_failure(template: Path, name: str, problem: str) -> FailureError:
    return FailureError("secrets", f"{template}: {name}: {problem}", fix=_template_fix())


def _template_fix() -> str:
    example = Path(__file__).parent / "templates" / "secret.json.example"
    return f"fill in a copy of {example}, with a key from: {KPI} keys new"


def _write_failure(name: str, region: str, problem: str) -> FailureError:
    return FailureError(
        "secrets",
        f"the secret {name} in {region} was not written: {problem}",
        fix="allow secretsmanager:CreateSecret and PutSecretValue for the identity of: aws sts get-caller-identity",
    )
