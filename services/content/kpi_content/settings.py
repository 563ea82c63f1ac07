"""The settings of the content service."""

from typing import ClassVar

from kpi_shared.addresses import Networks
from kpi_shared.parts import Part
from kpi_shared.settings import ServiceSettings
from pydantic import Field

PART = Part(name="content", package="kpi_content", port=8002)


class ContentSettings(ServiceSettings):
    part: ClassVar[Part] = PART

    # Networks whose X-Forwarded-For is trusted, separated by commas.
    trusted_proxies: Networks = ("127.0.0.0/8", "::1/128")

    # Searches and totals that run at once (not set: a quarter of the connections for reads), how many may wait, and for
    # how many seconds, before the response is 503.
    search_places: int | None = Field(default=None, ge=1, le=100)
    search_queue: int = Field(default=64, ge=0, le=1000)
    search_patience: float = Field(default=1.5, gt=0, le=60)

    @property
    def parallel_searches(self) -> int:
        return self.search_places or max(1, self.database_pool_size // 4)
