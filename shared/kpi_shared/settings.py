"""The settings of a part: their sources, in order of precedence, and their validation at start-up.

From highest to lowest precedence: an AWS secret (if enabled), environment variables, files named by ``X_FILE``
variables, and ``config/.env.<APP_ENV>`` of the part, else ``config/.env``.
"""

import json
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from kpi_shared.aws import AwsSecretSource
from kpi_shared.findings import create_finding
from kpi_shared.key_ring import BadRingError, KeyRing, Purpose, parse_ring, require_active
from kpi_shared.keys import parse_key
from kpi_shared.parts import Part


class SettingsError(Exception):
    """A part cannot start with its settings; the message is for the operator."""


class Environment(StrEnum):
    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _check_secret_key(value: SecretStr) -> SecretStr:
    parse_key(value.get_secret_value())
    return value


def _write_json(value: object) -> object:
    """In the JSON of an AWS secret, JSON may be written as such or as a text."""
    return json.dumps(value) if isinstance(value, dict) else value


def _check_collector(value: str) -> str:
    try:
        parts = urlsplit(value)
        # Reading the port validates it. The library's own message quotes what may be a part of a password.
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be an address such as http://127.0.0.1:4318")
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
SecretKey = Annotated[SecretStr, AfterValidator(_check_secret_key)]
SecretKeys = Annotated[tuple[SecretKey, ...], NoDecode, BeforeValidator(_split)]


class FileSource(PydanticBaseSettingsSource):
    """Reads X from the file that the variable ``X_FILE`` names, as is usual for container secrets."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 the base class's
        path = os.environ.get(f"{field_name.upper()}_FILE")
        # A setting of that name is a file that the part itself reads, again and again.
        if not path or f"{field_name}_file" in self.settings_cls.model_fields:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8 text"
            raise SettingsError(f"{field_name.upper()}_FILE: {path}: {reason}") from error

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self._fields()}
        return {name: value for name, value in found.items() if value is not None}

    def _fields(self) -> list[tuple[str, FieldInfo]]:
        return list(self.settings_cls.model_fields.items())


class PartSettings(BaseSettings):
    """The settings of every part. A subclass sets its part and adds its own settings."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True)
    part: ClassVar[Part]
    # The AWS secret from which the settings were last read, for error messages.
    secret_in_use: ClassVar[str | None] = None

    # Operators read the descriptions: config/.env.example and `kpi config` are made from them. A ``title`` begins a
    # group there, and ``examples`` are shown where the default says too little.
    app_env: Environment = Field(
        default=Environment.DEVELOPMENT,
        title="General",
        description="Which installation this is. It selects config/.env.NAME, and production has stricter rules.",
    )
    debug: bool = Field(default=False, description="Log every request, and serve /docs on this part too.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least important lines that are logged."
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="The form of the log: a JSON object per line, or text for a terminal."
    )
    shutdown_seconds: int = Field(
        default=10, ge=1, le=600, description="How long a stop waits for requests in flight, in seconds."
    )

    metrics_port: int = Field(
        default=0,
        ge=0,
        lt=2**16,
        title="Metrics, logs of slow requests and traces",
        description="The port of GET /metrics (Prometheus), in addition to the public port: a different one for each "
        "part on one machine. With --workers N each process has its own: this port and the N - 1 after it. 0: none.",
        examples=["9100"],
    )
    metrics_host: str = Field(default="127.0.0.1", description="The address that serves the metrics.")
    metrics_ports: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="How many ports from METRICS_PORT on are this part's, one for each process; --workers sets it.",
    )
    slow_request_seconds: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="A request whose response takes longer than this to begin is logged as a warning.",
    )
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(_check_collector)] | None = Field(
        default=None,
        description="The OpenTelemetry collector that gets the traces, by OTLP over HTTP. The standard's other OTEL_ "
        "variables apply if they are environment variables. Not set: no traces.",
        examples=["http://127.0.0.1:4318"],
    )
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = Field(
        default="http/protobuf", description="The only protocol that is supported."
    )
    otel_traces_exporter: Literal["otlp", "none"] = Field(
        default="otlp", description="none: no traces, although there is an endpoint."
    )

    aws_secrets_enabled: bool = Field(
        default=False,
        title="AWS Secrets Manager",
        description="Read secrets from AWS Secrets Manager; they override what is set otherwise. Of this part these "
        "can be there: {aws_overrides}.",
    )
    aws_secret_name: str | None = Field(
        default=None, description="The secret's name; its text is a JSON object.", examples=["kpi-one/{part}"]
    )
    aws_region: str | None = Field(default=None, description="Its region.", examples=["eu-central-1"])
    aws_endpoint_url: str | None = Field(
        default=None, description="An endpoint other than AWS's own.", examples=["http://127.0.0.1:5000"]
    )

    @property
    def findings(self) -> list[dict[str, object]]:
        """What ``check`` reports about settings that are valid."""
        return []

    @property
    def server_options(self) -> dict[str, Any]:
        """Further arguments of ``uvicorn_options``."""
        return {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 replaced by a source that depends on APP_ENV
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 replaced by X_FILE
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        local = (
            env_settings,
            FileSource(settings_cls),
            DotEnvSettingsSource(settings_cls, env_file=cls.env_file()),
        )
        return (init_settings, AwsSecretSource(settings_cls, below=local), *local)

    @classmethod
    def env_file(cls) -> Path | None:
        """``config/.env.<APP_ENV>`` of the part, else ``config/.env``. CONFIG_DIR replaces ``config``."""
        config = Path(os.environ.get("CONFIG_DIR") or cls.part.folder / "config")
        environment = os.environ.get("APP_ENV", Environment.DEVELOPMENT)
        candidates = (config / f".env.{environment}", config / ".env")
        return next((path for path in candidates if path.is_file()), None)

    @classmethod
    def load(cls) -> Self:
        """Load the settings, or raise a SettingsError that names each invalid one and contains no value."""
        try:
            return cls()
        except ValidationError as error:
            secret = f" (AWS secret {cls.secret_in_use!r} is in use)" if cls.secret_in_use else ""
            raise SettingsError(_describe_errors(error) + secret) from None
        except ValueError as error:
            # pydantic-settings and AwsSecretSource report an unreadable source this way.
            raise SettingsError(str(error)) from None


_FOR_OTHERS = 0o007


class _TokenBaseSettings(PartSettings):
    """The settings of tokens except the current key."""

    # Whether this part mints tokens: with the purpose public it alone has secret keys.
    mints_tokens: ClassVar[bool] = False

    token_purpose: Purpose = Field(
        default=Purpose.LOCAL,
        title="Keys of the access tokens (docs/keys.md): a key ring, or one key",
        description="local: all parts share each key. public: only auth has secret keys, which needs a key ring.",
    )
    # It takes the place of PASETO_SECRET_KEY (docs/adr/0043-key-ring.md).
    paseto_keys_file: Path | None = Field(
        default=None,
        description="The key ring, a JSON file that is read again whenever it changes, so that keys are replaced "
        "while everything runs: .venv/bin/kpi keys rotate",
        examples=["/run/kpi/{ring_file}"],
    )
    paseto_keys: Annotated[SecretStr, BeforeValidator(_write_json)] | None = Field(
        default=None, description="The text of the key ring, as an AWS secret contains it; usually not set elsewhere."
    )
    # After the ring, which decides whether it is required. The classes below say how.
    paseto_secret_key: SecretStr | None
    paseto_previous_keys: SecretKeys = Field(
        default=(),
        description="Keys for which no new tokens are issued, but whose tokens are still accepted; separated by "
        "commas.",
    )
    token_issuer: str = Field(default="kpi-one", description="The claim iss of every token, the same in all parts.")
    token_audience: str = Field(default="kpi-one", description="The claim aud of every token, the same in all parts.")
    aws_secrets_refresh: float = Field(
        default=30,
        ge=1,
        le=86_400,
        title="AWS Secrets Manager",
        description="Seconds between two readings of the secret for its PASETO_KEYS.",
    )

    @property
    def ring_file(self) -> Path | None:
        """The file of the key ring; None if the ring comes from elsewhere."""
        return self.paseto_keys_file if not self.has_ring_in_aws else None

    @property
    def has_ring_in_aws(self) -> bool:
        return self.aws_secrets_enabled and self.paseto_keys is not None

    @property
    def has_ring(self) -> bool:
        """Whether the keys of the tokens are a ring with states, in place of PASETO_SECRET_KEY."""
        return self.paseto_keys_file is not None or self.paseto_keys is not None

    @property
    def findings(self) -> list[dict[str, object]]:
        if self.ring_file is None:
            return super().findings
        is_private = not self.ring_file.stat().st_mode & _FOR_OTHERS
        is_required = self.app_env is Environment.PRODUCTION
        detail = (
            "read by its owner and group alone" if is_private else f"everyone on this machine may read {self.ring_file}"
        )
        fix = f"chmod o-rwx {self.ring_file}"
        unused = f"; {self.use_of_former_keys}" if self.paseto_secret_key else ""
        return [
            *super().findings,
            create_finding("key ring", ok=is_private or not is_required, detail=f"{detail}{unused}", fix=fix),
        ]

    @property
    def use_of_former_keys(self) -> str:
        """What PASETO_SECRET_KEY is for beside a key ring."""
        if not self.mints_tokens:
            return "PASETO_SECRET_KEY is set and not used"
        return "PASETO_SECRET_KEY is for sessions and API keys of before AUTH_SECRET_KEY only"

    def read_ring(self) -> KeyRing:
        """The key ring; SettingsError if it cannot be used, also because its last key was killed."""
        try:
            if self.ring_file is not None:
                return require_active(self.parse_ring(self.ring_file.read_bytes()))
            if self.paseto_keys is not None:
                return require_active(self.parse_ring(self.paseto_keys.get_secret_value()))
        except OSError as error:
            raise SettingsError(f"PASETO_KEYS_FILE: {self.ring_file}: {error.strerror}") from None
        except BadRingError as error:
            source = f"_FILE: {self.ring_file}" if self.ring_file is not None else ""
            raise SettingsError(f"PASETO_KEYS{source}: {error}") from None
        return self._local_ring()

    def parse_ring(self, text: str | bytes) -> KeyRing:
        """The ring of this part in such a text; BadRingError if it cannot be used."""
        return parse_ring(text, purpose=self.token_purpose, mints=self.mints_tokens)

    def _local_ring(self) -> KeyRing:
        current = self.paseto_secret_key
        if not current:
            raise SettingsError("PASETO_SECRET_KEY: is required and not set")
        previous = [parse_key(key.get_secret_value()) for key in self.paseto_previous_keys]
        return KeyRing.local(parse_key(current.get_secret_value()), previous)

    @model_validator(mode="after")
    def _check_ring(self) -> Self:
        if self.has_ring:
            try:
                self.read_ring()
            except SettingsError as error:
                raise ValueError(str(error)) from None
        elif self.token_purpose is Purpose.PUBLIC:
            raise ValueError("TOKEN_PURPOSE: public needs a key ring, PASETO_KEYS_FILE")
        return self


def _check_presence(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """The key is required where no key ring is given."""
    has_ring = any(info.data.get(name) is not None for name in ("paseto_keys_file", "paseto_keys"))
    if not value and not has_ring:
        raise PydanticCustomError("missing", "Field required")
    return _check_secret_key(value) if value else value


class TokenSettings(_TokenBaseSettings):
    """For a service, which requires the keys of the tokens."""

    paseto_secret_key: Annotated[SecretStr, AfterValidator(_check_presence)] = Field(
        SecretStr(""),
        validate_default=True,
        description="Required without a key ring. One key, 64 hex digits, the same in all parts. To generate a key: "
        ".venv/bin/kpi keys new",
    )


class OptionalTokenSettings(_TokenBaseSettings):
    """For a part that opens tokens only if it has the keys."""

    paseto_secret_key: SecretKey | None = Field(
        default=None,
        description="One key, 64 hex digits, the same as of the services, if they have no key ring. Without any keys, "
        "requests are limited by client address only, and not by the account of their token.",
    )

    @property
    def has_token_keys(self) -> bool:
        return self.paseto_secret_key is not None or self.has_ring


# Passwords in examples.
_PLACEHOLDER = re.compile(r"<.*>|change[-_]?me|your[-_]?password|password|example", re.IGNORECASE)


def _check_database_url(value: SecretStr) -> SecretStr:
    # The gateway has settings but no driver.
    from kpi_shared.database_url import parse_database_url  # noqa: PLC0415

    parameters = parse_database_url(value.get_secret_value())
    if _PLACEHOLDER.fullmatch(parameters.get("password", "")):
        raise ValueError("the password is a placeholder from an example")
    return SecretStr(f"postgresql+psycopg://{value.get_secret_value().partition('://')[2]}")


DatabaseUrl = Annotated[SecretStr, AfterValidator(_check_database_url)]


class DatabaseSettings(PartSettings):
    """The PostgreSQL database of the part. Times are in seconds."""

    database_url: DatabaseUrl = Field(
        title="Database",
        description="A database of the part's own. Special characters in the password are percent-encoded (@ is %40). "
        "The form is libpq's, so several hosts are possible, of which the primary is used: "
        "postgresql://USER:PASSWORD@h1:5432,h2:5432/NAME",
        examples=["postgresql://{part}:<password>@127.0.0.1:5432/{part}"],
    )
    database_pool_size: int = Field(
        default=5, ge=1, le=100, description="The number of connections for reads, and the same number for writes."
    )
    database_pool_timeout: float = Field(
        default=1.8,
        gt=0,
        le=60,
        description="How long a request waits for a connection, in seconds: less than REQUEST_TIMEOUT, so that the "
        "response can name the reason.",
    )
    database_statement_timeout: float = Field(
        default=1.8,
        gt=0,
        le=600,
        description="How long a statement may take, in seconds; waiting for a lock has three quarters of it.",
    )
    database_echo: bool = Field(default=False, description="Log every SQL statement.")


class ServiceSettings(DatabaseSettings, TokenSettings):
    """For a service: a database and the key of the tokens."""

    request_timeout: float = Field(
        default=2.0,
        gt=0,
        le=30,
        title="Requests",
        description="The response to a complete request must begin within this many seconds, unless the gateway sets "
        "another time for its route; then it is 503.",
    )

    @property
    def server_options(self) -> dict[str, Any]:
        return {"request_timeout": self.request_timeout}

    @property
    def lasting_secrets(self) -> tuple[SecretStr, ...]:
        """Keys of this service that last longer than those of the tokens, the newest first."""
        return ()

    @model_validator(mode="after")
    def _require_lasting_secret(self) -> Self:
        if self.token_purpose is Purpose.PUBLIC and not self.lasting_secrets:
            raise ValueError("TOKEN_PURPOSE: with public, cursors need a key of their own: set FEED_KEY too")
        return self


def database_settings_of(of: Part) -> type[DatabaseSettings]:
    """The settings of a migration: a database but no key, so that it need not be trusted with one."""

    class MigrationSettings(DatabaseSettings):
        part: ClassVar[Part] = of

    return MigrationSettings


def _describe_errors(error: ValidationError) -> str:
    return "; ".join(
        f"{_variable_name(item['loc'])}: {_describe_error(item)}" for item in error.errors(include_input=False)
    )


def _variable_name(location: tuple[int | str, ...]) -> str:
    return str(location[0]).upper() if location else "settings"


def _describe_error(item: Any) -> str:  # noqa: ANN401 ErrorDetails of pydantic is private
    if item["type"] == "missing":
        return "is required and not set"
    return str(item["msg"]).removeprefix("Value error, ")
