"""The settings of a service that follows auth's feed."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from kpi_shared.findings import create_finding
from kpi_shared.settings import CommaSeparated, Environment, SecretKey, ServiceSettings

NO_FEED = "AUTH_INTERNAL_URL and FEED_KEY are not set: tokens are trusted until they expire"
_SET_FEED = "set AUTH_INTERNAL_URL to auth's internal port, and FEED_KEY to the same key as in auth's settings"


def _check_addresses(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_check_address(value.rstrip("/")) for value in values))


def _check_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        # Reading the port validates it.
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.username is not None or parts.path or parts.query or parts.fragment:
        raise ValueError("addresses of auth's internal port are needed, such as http://auth:8011, with no path")
    return value


_Addresses = Annotated[CommaSeparated, AfterValidator(_check_addresses)]


class FollowerSettings(ServiceSettings):
    """For a service that reads what auth revokes."""

    auth_internal_url: Annotated[_Addresses | None, NoDecode] = Field(
        default=None,
        title="What auth revokes (docs/events.md)",
        description="Auth's internal port; several addresses are separated by commas. There this service reads which "
        "sessions have ended and which accounts have changed. Not set: tokens are trusted until they expire.",
        examples=["http://127.0.0.1:8011"],
    )
    feed_key: SecretKey | None = Field(
        default=None,
        description="The key with which this service authenticates there: 64 hex digits, the same as FEED_KEY in "
        "auth's settings.",
    )
    revocation_silence_limit: float = Field(
        default=10.0,
        ge=1,
        le=3600,
        description="If auth has been silent for so many seconds, writes are refused (503); reads go on.",
    )

    @property
    def has_feed(self) -> bool:
        return self.feed_key is not None

    @property
    def lasting_secrets(self) -> tuple[SecretStr, ...]:
        return (self.feed_key,) if self.feed_key is not None else ()

    @property
    def findings(self) -> list[dict[str, object]]:
        is_required = self.app_env is Environment.PRODUCTION
        detail = "set" if self.has_feed else NO_FEED
        return [
            *super().findings,
            create_finding("feed", ok=self.has_feed or not is_required, detail=detail, fix=_SET_FEED),
        ]

    @model_validator(mode="after")
    def _check_feed(self) -> Self:
        if (self.auth_internal_url is None) != (self.feed_key is None):
            raise ValueError("AUTH_INTERNAL_URL and FEED_KEY: set both, or none")
        return self
