"""The settings of the content service."""

from typing import ClassVar, Literal

from kpi_shared.addresses import Networks
from kpi_shared.feed.settings import FollowerSettings
from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseUrl
from pydantic import Field

PART = Part(name="content", package="kpi_content", port=8002)


class ContentSettings(FollowerSettings):
    part: ClassVar[Part] = PART

    author_deletion: Literal["keep", "hide"] = Field(
        default="keep",
        title="Posts",
        description="keep: posts of a deleted account stay, without its name. hide: they are 404 and in no list until "
        "it is restored.",
    )

    listen_database_url: DatabaseUrl | None = Field(
        default=None,
        title="Conversations",
        description="A direct address of the database, without a pooler, on which this service listens for "
        "notifications about conversations. Not set: it only polls, twice a second.",
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
    def hides_deleted(self) -> bool:
        return self.author_deletion == "hide"

    @property
    def parallel_searches(self) -> int:
        return self.search_places or max(1, self.database_pool_size // 4)
