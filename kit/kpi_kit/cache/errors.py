"""The errors of the cache. None quotes a key, a value or a URL."""

from kpi_kit.errors import DriverUnavailableError, KitError


class CacheError(KitError):
    """The base of all errors of the cache."""


class CacheUnavailableError(CacheError, DriverUnavailableError):
    """The server or the disk behind the cache did not respond in time, or cannot handle the call now."""


class CacheKeyError(CacheError, ValueError):
    """A key, a tag or the name of a lock is empty, too long, or has characters that do not print."""

    def __init__(self, most: int) -> None:
        super().__init__(f"a key, a tag or a name of a lock has 1 to {most} printable characters")


class CacheValueError(CacheError, ValueError):
    """A value has no form in JSON or is too large, a counter is no number, or a time is not positive."""


class LockTimeoutError(CacheError):
    """The lock was held by others for as long as the call was willing to wait."""


class LockLostError(CacheError):
    """The lease ended before the block did, so others may have held the lock meanwhile."""


class RememberCycleError(CacheError):
    """``make`` called ``remember`` for its own key, directly or through other keys, and would wait for itself."""

    def __init__(self) -> None:
        super().__init__(
            "make called remember() for its own key, directly or through other keys: it would wait for itself"
        )


class UnknownStoreError(CacheError, LookupError):
    """No store of this name was given to ``from_url``."""
