"""Values in the memory of this process: cashews' store, which drops what was not used for longest.

Without a serializer no call of that store waits for anything, so two of them in a row are atomic here. What it does
otherwise than Redis is corrected (cashews 7.6): a value without a time to live kept that of the one before it, what had
expired counted as there until it was swept, and a lock was released without a look at who holds it.
"""

from cashews.backends.memory import Memory

from kpi_kit.cache.codec import add_to_counter
from kpi_kit.cache.keys import is_of_lock
from kpi_kit.urls import Url, read_number

_DEFAULT_SIZE, _MAX_SIZE = 10_000, 10_000_000


class MemoryDriver:
    is_shared = False

    def __init__(self, url: Url) -> None:
        size = int(read_number(url, "size", default=_DEFAULT_SIZE, least=1, most=_MAX_SIZE))
        # Its sweep would go through all values in one piece every second. Reading and the bound remove what expired.
        self._values = Memory(size=size, check_interval=0)
        self._locks = Memory(size=_MAX_SIZE, check_interval=0)

    async def open(self) -> None:
        for store in (self._values, self._locks):
            await store.init()

    async def close(self) -> None:
        for store in (self._values, self._locks):
            await store.clear()
            await store.close()

    async def get(self, name: str) -> bytes | None:
        found: bytes | None = await self._values.get(name)
        return found

    async def set(self, name: str, value: bytes, ttl: float | None) -> None:
        if ttl is None:
            await self._values.delete(name)
        await self._values.set(name, value, ttl)

    async def add(self, name: str, value: bytes, ttl: float | None) -> bool:
        store = self._find_store(name)
        if await store.get(name) is not None:
            return False
        await store.set(name, value, ttl)
        return True

    async def delete(self, name: str, *, value: bytes | None = None) -> bool:
        store = self._find_store(name)
        found = await store.get(name)
        if found is None or value not in (None, found):
            return False
        return await store.delete(name)

    def _find_store(self, name: str) -> Memory:
        return self._locks if is_of_lock(name) else self._values

    async def increment(self, name: str, amount: int, ttl: float | None) -> int:
        stored = await self._values.get(name)
        number = add_to_counter(stored, amount)
        # Without a time to live, the store keeps that of the value before.
        await self._values.set(name, b"%d" % number, ttl if stored is None else None)
        return number

    async def clear(self, start: str) -> None:
        await self._values.delete_many(*[name for name in self._values.store if name.startswith(start)])


create_driver = MemoryDriver
