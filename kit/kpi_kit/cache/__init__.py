"""A cache: values by key with a time to live, counters, tags and locks."""

from kpi_kit.cache.cache import Cache
from kpi_kit.cache.errors import (
    CacheError,
    CacheKeyError,
    CacheUnavailableError,
    CacheValueError,
    LockLostError,
    LockTimeoutError,
    RememberCycleError,
    UnknownStoreError,
)
from kpi_kit.cache.fake import CacheFake

__all__ = [
    "Cache",
    "CacheError",
    "CacheFake",
    "CacheKeyError",
    "CacheUnavailableError",
    "CacheValueError",
    "LockLostError",
    "LockTimeoutError",
    "RememberCycleError",
    "UnknownStoreError",
]
