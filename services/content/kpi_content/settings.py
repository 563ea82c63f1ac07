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

    # Networks whose X-Forwarded-For is trusted, separated by commas.
    trusted_proxies: Networks = ("127.0.0.0/8", "::1/128")

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
    def hides_deleted(self) -> bool:
        return self.author_deletion == "hide"

    @property
    def parallel_searches(self) -> int:
        return self.search_places or max(1, self.database_pool_size // 4)
