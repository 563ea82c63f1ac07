"""A cache for tests, with a clock that the test moves and a record of what was called."""

from collections.abc import Iterable
from typing import Self

from kpi_kit.cache.cache import Cache
from kpi_kit.cache.codec import add_to_counter
from kpi_kit.cache.errors import CacheUnavailableError


class FakeDriver:
    """Values in a dict. It needs no package."""

    def __init__(self, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared
        self.now = 1_000_000.0
        self.is_down = False
        self.calls: list[tuple[str, str]] = []
        self._values: dict[str, tuple[bytes, float | None]] = {}

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        self._values.clear()

    async def get(self, name: str) -> bytes | None:
        self._note("get", name)
        return self._find(name)

    async def set(self, name: str, value: bytes, ttl: float | None) -> None:
        self._note("set", name)
        self._store(name, value, ttl)

    async def add(self, name: str, value: bytes, ttl: float | None) -> bool:
        self._note("add", name)
        if self._find(name) is not None:
            return False
        self._store(name, value, ttl)
        return True

    async def delete(self, name: str, *, value: bytes | None = None) -> bool:
        self._note("delete", name)
        found = self._find(name)
        if found is None or value not in (None, found):
            return False
        del self._values[name]
        return True

    async def increment(self, name: str, amount: int, ttl: float | None) -> int:
        self._note("increment", name)
        stored = self._find(name)
        number = add_to_counter(stored, amount)
        if stored is None:
            self._store(name, b"%d" % number, ttl)
        else:
            self._values[name] = (b"%d" % number, self._values[name][1])
        return number

    async def clear(self, start: str) -> None:
        self._note("clear", start)
        for name in [name for name in self._values if name.startswith(start)]:
            del self._values[name]

    def _note(self, operation: str, name: str) -> None:
        if self.is_down:
            raise CacheUnavailableError("the cache is down, as this test has asked")
        self.calls.append((operation, name))

    def _find(self, name: str) -> bytes | None:
        value, ends = self._values.get(name, (None, None))
        return value if ends is None or self.now < ends else None

    def _store(self, name: str, value: bytes, ttl: float | None) -> None:
        self._values[name] = (value, None if ttl is None else self.now + ttl)


class CacheFake(Cache):
    """``async with CacheFake() as cache``: all that a ``Cache`` does, without a server or a package.

    ``advance`` lets time pass; while ``is_down`` is set, every call raises CacheUnavailableError.
    """

    def __init__(self, *, soft_reads: bool = False, stores: "dict[str, CacheFake] | None" = None) -> None:
        self._fake = FakeDriver()
        super().__init__(self._fake, name="fake", soft_reads=soft_reads, stores=stores, now=lambda: self._fake.now)

    @classmethod
    def from_url(cls, *_: object, stores: Iterable[str] | None = None, **_others: object) -> Self:
        """A fake, whatever the URL, so that a test can put this class in the place of the real one."""
        return cls(stores={name: CacheFake() for name in stores or ()})

    def store(self, name: str) -> "CacheFake":
        found = super().store(name)
        if not isinstance(found, CacheFake):
            raise TypeError("the stores of a CacheFake are fakes too")
        return found

    @property
    def is_down(self) -> bool:
        return self._fake.is_down

    @is_down.setter
    def is_down(self, is_down: bool) -> None:
        self._fake.is_down = is_down

    def advance(self, seconds: float) -> None:
        self._fake.now += seconds

    def assert_put(self, key: str) -> None:
        """That ``put`` or ``remember`` has stored a value under the key."""
        self._assert_called("set", self._names.of_key(key), "was put")

    def assert_forgotten(self, key: str) -> None:
        self._assert_called("delete", self._names.of_key(key), "was forgotten")

    def assert_invalidated(self, tag: str) -> None:
        self._assert_called("set", self._names.of_tag(tag), "was invalidated")

    def assert_flushed(self) -> None:
        self._assert_called("clear", self._names.keys, "was flushed")

    def assert_nothing_put(self) -> None:
        stored = [name for operation, name in self._fake.calls if operation == "set"]
        if stored:
            raise AssertionError(f"values were put: {stored}")

    def _assert_called(self, operation: str, name: str, what: str) -> None:
        if (operation, name) not in self._fake.calls:
            raise AssertionError(f"not one call says that {name} {what}; there were {self._fake.calls}")
