"""The settings of the content service."""

from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from kpi_shared.addresses import Networks
from kpi_shared.findings import create_finding
from kpi_shared.parts import Part
from kpi_shared.settings import CommaSeparated, DatabaseUrl, Environment, SecretKey, ServiceSettings
from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

NO_FEED = "AUTH_INTERNAL_URL and FEED_KEY are not set: tokens are trusted until they expire"
_SET_FEED = "set AUTH_INTERNAL_URL to auth's internal port, and FEED_KEY to the same key as in auth's settings"

PART = Part(name="content", package="kpi_content", port=8002)


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


class ContentSettings(ServiceSettings):
    part: ClassVar[Part] = PART

    auth_internal_url: Annotated[_Addresses | None, NoDecode] = Field(
        default=None,
        title="What auth revokes and renames",
        description="Auth's internal port; several addresses are separated by commas. There this service reads which "
        "sessions have ended and which accounts have changed. Not set: tokens are trusted until they expire.",
        examples=["http://127.0.0.1:8011"],
    )
    feed_key: SecretKey | None = Field(
        default=None,
        description="64 hex digits by which this service is known there, the same as FEED_KEY in auth's settings.",
    )
    revocation_silence_limit: float = Field(
        default=10.0,
        ge=1,
        le=3600,
        description="If auth has been silent for so many seconds, writes are refused (503); reads go on.",
    )
    author_deletion: Literal["keep", "hide"] = Field(
        default="keep",
        description="keep: posts of a deleted account stay, without its name. hide: they are 404 and in no list until "
        "it is restored.",
    )

    listen_database_url: DatabaseUrl | None = Field(
        default=None,
        title="Conversations",
        description="The database without a pooler in between: there this service hears what happens in "
        "conversations. Not set: it looks twice a second.",
        examples=["postgresql://{part}:<password>@127.0.0.1:5432/{part}"],
    )
    upload_silence_timeout: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="A streamed message of which nothing comes for so many seconds is stored as interrupted.",
    )
    uploads_per_account: int = Field(
        default=8, ge=1, le=1000, description="Messages that one account may stream at once, in each process."
    )
    streams_per_account: int = Field(
        default=50,
        ge=1,
        le=10_000,
        description="Streams of conversations that one account may have open, in each process.",
    )
    conversation_events_keep_hours: int = Field(
        default=24,
        ge=1,
        le=24 * 365,
        description="For how many hours the events of conversations are kept, so that a client which was away reads "
        "on where it stopped.",
    )

    search_places: int | None = Field(
        default=None,
        ge=1,
        le=100,
        title="Searches and totals",
        description="How many run at once. Not set: a quarter of the connections for reads.",
        examples=["1"],
    )
    search_queue: int = Field(
        default=64, ge=0, le=1000, description="How many may wait for them; beyond that the response is 503."
    )
    search_patience: float = Field(
        default=1.5, gt=0, le=60, description="How long each may wait, in seconds, before the response is 503."
    )
    trusted_proxies: Networks = Field(
        default=("127.0.0.0/8", "::1/128"),
        description="Networks of the proxies whose X-Forwarded-For is trusted, separated by commas: anonymous "
        "searches are shared fairly by client address.",
    )

    @property
    def has_feed(self) -> bool:
        return self.feed_key is not None

    @property
    def lasting_secrets(self) -> tuple[SecretStr, ...]:
        return (self.feed_key,) if self.feed_key is not None else ()

    @property
    def hides_deleted(self) -> bool:
        return self.author_deletion == "hide"

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

    @property
    def parallel_searches(self) -> int:
        return self.search_places or max(1, self.database_pool_size // 4)
