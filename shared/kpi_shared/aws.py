"""Settings from AWS Secrets Manager."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

# Only these are read from the secret: write access to it must not give access to other settings.
OVERRIDES = (
    "database_url",
    "paseto_secret_key",
    "paseto_keys",
    "auth_secret_key",
    "access_token_expire_minutes",
    "cors_origins",
)
_TIMEOUT_SECONDS = 5


class AwsSecretSource(PydanticBaseSettingsSource):
    """The JSON in the SecretString of one secret, if ``AWS_SECRETS_ENABLED`` is true.

    Any failure stops the start with a ValueError that names the secret and none of its values.
    """

    def __init__(self, settings_cls: type[BaseSettings], *, below: Sequence[PydanticBaseSettingsSource]) -> None:
        super().__init__(settings_cls)
        self._below = below

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 the base class's
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        local: dict[str, Any] = {}
        for source in reversed(self._below):
            local.update(source())
        if not _is_enabled(local.get("aws_secrets_enabled", False)):
            return {}
        name = local.get("aws_secret_name")
        if not name:
            raise ValueError("AWS_SECRET_NAME: is required when AWS_SECRETS_ENABLED is true")
        # Later error messages about settings must say that the secret was in use.
        self.settings_cls.secret_in_use = str(name)  # type: ignore[attr-defined]  # settings of a part have it
        values = _read_secret(str(name), local.get("aws_region"), local.get("aws_endpoint_url"))
        known = set(OVERRIDES) & set(self.settings_cls.model_fields)
        return {key.lower(): value for key, value in values.items() if key.lower() in known}


def _is_enabled(value: object) -> bool:
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        raise ValueError("AWS_SECRETS_ENABLED: must be true or false") from None


def read_member(member: str, name: str, region: str | None, endpoint_url: str | None) -> bytes:
    """One member of the secret, as JSON or as the text that it is; ValueError, which quotes no value, without it."""
    values = {key.upper(): value for key, value in _read_secret(name, region, endpoint_url).items()}
    if member not in values:
        raise ValueError(f"AWS secret {name!r}: has no {member}")
    found = values[member]
    return (found if isinstance(found, str) else json.dumps(found)).encode()


def _read_secret(name: str, region: str | None, endpoint_url: str | None) -> dict[str, Any]:
    # boto3 takes a fifth of a second to import, so it is imported only if it is used.
    from boto3 import client  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    config = Config(connect_timeout=_TIMEOUT_SECONDS, read_timeout=_TIMEOUT_SECONDS, retries={"max_attempts": 2})
    try:
        manager = client("secretsmanager", region_name=region, endpoint_url=endpoint_url, config=config)
        response = manager.get_secret_value(SecretId=name, VersionStage="AWSCURRENT")
    except ClientError as error:
        raise ValueError(f"AWS secret {name!r}: {_explain(error.response['Error']['Code'])}") from None
    except BotoCoreError as error:
        raise ValueError(f"AWS secret {name!r} cannot be read: {error}") from None
    return _parse(name, response.get("SecretString"))


def _explain(code: str) -> str:
    known = {
        "ResourceNotFoundException": "does not exist in this account and region",
        "AccessDeniedException": "cannot be read with these credentials (secretsmanager:GetSecretValue is required)",
    }
    return known.get(code, f"cannot be read ({code})")


def _parse(name: str, text: str | None) -> dict[str, Any]:
    if text is None:
        raise ValueError(f"AWS secret {name!r}: contains binary data; a SecretString with JSON is required")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"AWS secret {name!r}: its SecretString is not valid JSON") from None
    if not isinstance(values, dict):
        raise ValueError(f"AWS secret {name!r}: its SecretString is not a JSON object")  # noqa: TRY004 the value is invalid
    return values
