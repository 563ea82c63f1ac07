"""The versions of tags. A tagged value is one of the past when one of its tags has another version than it had then.

cashews keeps a set of keys for each tag, which ends with the last value that was tagged: those of before that live
longer are then not found by an invalidation (7.6). And a value that was made from what an invalidation has just ended
could still be stored after it. With versions, which are read before a value is made, it is stored and never seen.
"""

import asyncio
import secrets
from collections.abc import Collection, Mapping

from kpi_kit.cache.contract import CacheDriver
from kpi_kit.cache.errors import CacheValueError
from kpi_kit.cache.keys import MAX_TAGS, Names

# A version that is gone ends the values that have it, so this is the longest that a tagged value lives.
TAG_SECONDS = 30 * 86400.0


class Tags:
    def __init__(self, driver: CacheDriver, names: Names) -> None:
        self._driver = driver
        self._names = names

    async def read(self, tags: Collection[str]) -> dict[str, str]:
        """The version of each tag; a tag that has none gets one."""
        if isinstance(tags, str):
            raise CacheValueError("tags are a list: text would be a tag for each character")
        if len(tags) > MAX_TAGS:
            raise CacheValueError(f"a value has at most {MAX_TAGS} tags")
        names = [self._names.of_tag(tag) for tag in tags]
        versions = await asyncio.gather(*map(self._read_or_create, names))
        return dict(zip(tags, versions, strict=True))

    async def _read_or_create(self, name: str) -> str:
        found = await self._driver.get(name)
        if found is None:
            version = _create_version()
            if await self._driver.add(name, version, TAG_SECONDS):
                return version.decode()
            found = await self._driver.get(name) or version
        return found.decode(errors="replace")

    async def are_current(self, versions: Mapping[str, str]) -> bool:
        found = await asyncio.gather(*(self._driver.get(self._names.of_tag(tag)) for tag in versions))
        return all(
            stored is not None and stored.decode(errors="replace") == version
            for stored, version in zip(found, versions.values(), strict=True)
        )

    async def invalidate(self, tags: Collection[str]) -> None:
        names = [self._names.of_tag(tag) for tag in tags]
        await asyncio.gather(*(self._driver.set(name, _create_version(), TAG_SECONDS) for name in names))


def _create_version() -> bytes:
    """Random, so that a version that was lost never comes again."""
    return secrets.token_hex(12).encode()
