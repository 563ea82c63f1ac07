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

    # Networks whose X-Forwarded-For is trusted, separated by commas.
    trusted_proxies: Networks = ("127.0.0.0/8", "::1/128")

    # The addresses of auth's internal port, separated by commas, and the key by which its feed knows this service;
    # None: what auth revokes and renames is not known here.
    auth_internal_url: Annotated[_Addresses | None, NoDecode] = None
    feed_key: SecretKey | None = None
    # When the feed has said nothing for so many seconds, writes are refused.
    revocation_silence_limit: float = Field(default=10.0, ge=1, le=3600)
    # What becomes of the posts of a deleted account: they stay without its name, or are 404 and in no list.
    author_deletion: Literal["keep", "hide"] = "keep"

    # A direct address of the database, without a pooler, on which a process hears what others write in conversations;
    # None: it looks twice a second. A streamed message of which nothing comes for so many seconds is interrupted.
    listen_database_url: DatabaseUrl | None = None
    upload_silence_timeout: float = Field(default=10.0, gt=0, le=300)
    # Messages that one account may stream at once, and streams of conversations that it may have open, in each process.
    uploads_per_account: int = Field(default=8, ge=1, le=1000)
    streams_per_account: int = Field(default=50, ge=1, le=10_000)
    # For how long the events of conversations are kept, so that a client can read on where it stopped, in hours.
    conversation_events_keep_hours: int = Field(default=24, ge=1, le=24 * 365)

    # Searches and totals that run at once (not set: a quarter of the connections for reads), how many may wait, and for
    # how many seconds, before the response is 503.
    search_places: int | None = Field(default=None, ge=1, le=100)
    search_queue: int = Field(default=64, ge=0, le=1000)
    search_patience: float = Field(default=1.5, gt=0, le=60)

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
