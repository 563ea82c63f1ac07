"""The names under which a cache stores its keys, tags and locks."""

import re
from datetime import timedelta

from kpi_kit.cache.errors import CacheKeyError, CacheValueError
from kpi_kit.errors import UrlError

MAX_KEY = 250
MAX_TAGS = 16
DEFAULT_PREFIX = "kpi"
# No character here has a meaning in a pattern of Redis.
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,40}")
# Ten years: what lives longer has no end.
_MIN_SECONDS, _MAX_SECONDS = 0.001, 10 * 366 * 86400.0


class Names:
    """Two caches with different prefixes on one server never see each other's values."""

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise UrlError("the prefix of a cache has 1 to 40 letters, digits, dots, hyphens and underscores")
        self.keys = f"{prefix}:key:"
        self._tags = f"{prefix}:tag:"
        self._locks = f"{prefix}:lock:"
        self.makings = f"{prefix}:making:"

    def of_key(self, key: str) -> str:
        return self.keys + check_key(key)

    def of_tag(self, tag: str) -> str:
        return self._tags + check_key(tag)

    def of_lock(self, name: str) -> str:
        return self._locks + check_key(name)

    def of_making(self, key: str) -> str:
        """The lock under which a remembered value is made, which no ``lock("...")`` can take."""
        return self.makings + key


def is_of_lock(name: str) -> bool:
    """Whether a lock has this name, of whatever prefix: a driver that drops values when it is full must keep it."""
    return name.split(":", 2)[1] in ("lock", "making")


def check_key(key: str) -> str:
    # A line break would end a line of a protocol or a log, and a lone surrogate has no form in UTF-8.
    if not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise CacheKeyError(MAX_KEY)
    return key


def to_seconds(time: float | timedelta) -> float:
    """CacheValueError if it is not above 0, or not a number."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        raise CacheValueError("a time is between a millisecond and ten years")
    return seconds
