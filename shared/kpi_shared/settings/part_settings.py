"""The settings that each part has, and their validation at start-up.

From highest to lowest precedence: an AWS secret (if enabled), environment variables, files named by ``X_FILE``
variables, and ``config/.env.<APP_ENV>`` of the part, else ``config/.env``.
"""

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from kpi_shared.aws import AwsSecretSource
from kpi_shared.parts import Part
from kpi_shared.settings.sources import Environment, FileSource, SettingsError
from kpi_shared.settings.types import check_collector


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
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(check_collector)] | None = Field(
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
            raise SettingsError("; ".join(describe_errors(error)) + secret) from None
        except ValueError as error:
            # pydantic-settings and AwsSecretSource report an unreadable source this way.
            raise SettingsError(str(error)) from None


def describe_errors(error: ValidationError) -> list[str]:
    """Each with the name of its setting, and without its value."""
    return [f"{_variable_name(item['loc'])}: {_describe_error(item)}" for item in error.errors(include_input=False)]


def _variable_name(location: tuple[int | str, ...]) -> str:
    return str(location[0]).upper() if location else "settings"


def _describe_error(item: Any) -> str:  # noqa: ANN401 ErrorDetails of pydantic is private
    if item["type"] == "missing":
        return "is required and not set"
    return str(item["msg"]).removeprefix("Value error, ")
