"""The settings of a service: its database, and how long a request may take."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from kpi_shared.findings import create_finding
from kpi_shared.key_ring import Purpose
from kpi_shared.parts import Part
from kpi_shared.settings.part_settings import PartSettings
from kpi_shared.settings.sources import Environment
from kpi_shared.settings.token_settings import TokenSettings

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


def _check_files_url(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    is_folder = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
    is_bucket = parts.scheme == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc) is not None
    if not (is_folder or is_bucket) or parts.query or parts.fragment or ".." in unquote(parts.path).split("/"):
        raise ValueError("must be a folder, such as file:///var/lib/kpi/files, or a bucket, s3://bucket/prefix")
    return value


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


class FileSettings(PartSettings):
    """Where the files of rows are."""

    files_url: Annotated[str, AfterValidator(_check_files_url)] | None = Field(
        default=None,
        title="Files",
        description="Where uploaded files are stored: a folder, file:///var/lib/kpi/files, which all replicas must "
        "share, or a bucket, s3://bucket/prefix, whose credentials boto3 finds in its own variables. Empty: uploads "
        "are refused.",
    )
    files_endpoint_url: str | None = Field(
        default=None,
        description="The address of a bucket that is not at AWS. Clients download from there, so they must reach it.",
    )

    @property
    def findings(self) -> list[dict[str, object]]:
        if self.files_url is None or not self.files_url.startswith("file:"):
            detail = "FILES_URL is not set: uploads are refused" if self.files_url is None else "in a bucket"
            return [*super().findings, create_finding("files", ok=True, detail=detail)]
        folder = Path(unquote(urlsplit(self.files_url).path))
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        is_writable = existing.is_dir() and os.access(existing, os.W_OK)
        detail = f"in {folder}" if is_writable else f"{folder} cannot be written"
        if self.app_env is Environment.PRODUCTION and is_writable:
            detail += ", which all replicas must share"
        fix = f"let the user of the service write there: chown <user> {existing}"
        return [*super().findings, create_finding("files", ok=is_writable, detail=detail, fix=fix)]


class ServiceSettings(DatabaseSettings, TokenSettings, FileSettings):
    """For a service: a database, the key of the tokens, and a place for files."""

    request_timeout: float = Field(
        default=2.0,
        gt=0,
        le=30,
        title="Requests",
        description="The response to a complete request must begin within this many seconds, or within the time that "
        "the gateway sets for its route; otherwise the response is 503.",
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
            raise ValueError(
                "TOKEN_PURPOSE: with public, cursors need a key of their own: set AUTH_SECRET_KEY in auth, or "
                "AUTH_INTERNAL_URL and FEED_KEY in another service"
            )
        return self


def database_settings_of(of: Part) -> type[DatabaseSettings]:
    """The settings of a migration: a database but no key, so that it need not be trusted with one."""

    class MigrationSettings(DatabaseSettings):
        part: ClassVar[Part] = of

    return MigrationSettings
