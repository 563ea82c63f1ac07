"""A storage for tests: it behaves as the real one in memory, and keeps what was asked of it."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import NamedTuple, Self
from urllib.parse import quote

from kpi_kit.drivers import choose_driver
from kpi_kit.observing import Observer
from kpi_kit.storage.contract import FileInfo, OpenFile, Signature, StorageDriver
from kpi_kit.storage.drivers import DRIVERS
from kpi_kit.storage.errors import NotStoredError, StorageError
from kpi_kit.storage.storage import Storage


class Call(NamedTuple):
    """``operation`` is write, read_info, open, list, copy, move, delete, sign or tidy."""

    operation: str
    path: str


class StorageFake(Storage):
    """Signed URLs have the host ``storage.invalid`` and are of no use; the public URL is that of an example."""

    def __init__(self, *, observer: Observer | None = None) -> None:
        chosen, parts = choose_driver("memory://", DRIVERS)
        self._fake = _FakeDriver(chosen.load().create_driver(parts))
        super().__init__(self._fake, name="fake", public_url="https://files.example.com", observer=observer)

    @classmethod
    def from_url(cls, *_: object, observer: Observer | None = None, **_others: object) -> Self:
        """A fake, whatever the URL, so that a test can put this class in the place of the real one."""
        return cls(observer=observer)

    @property
    def calls(self) -> list[Call]:
        """All that was asked of the driver, failed calls too, in their order."""
        return self._fake.calls

    def fail_with(self, error: StorageError | None) -> None:
        """Have each call from now on raise this error; None: work again."""
        self._fake.error = error

    async def assert_stored(self, path: str, content: bytes | None = None) -> None:
        """AssertionError unless there is such a file, with this content if one is given."""
        try:
            async with await self._fake.inner.open(path) as file:
                found = b"".join([chunk async for chunk in file])
        except NotStoredError:
            raise AssertionError(f"there is no file {path!r}") from None
        if content is not None and found != content:
            raise AssertionError(f"the file {path!r} has another content, of {len(found)} bytes")

    async def assert_not_stored(self, path: str) -> None:
        try:
            await self._fake.inner.read_info(path)
        except NotStoredError:
            return
        raise AssertionError(f"there is a file {path!r}")


class _FakeDriver:
    """See ``StorageDriver``."""

    def __init__(self, inner: StorageDriver) -> None:
        self.inner = inner
        self.calls: list[Call] = []
        self.error: StorageError | None = None

    async def start(self) -> None:
        await self.inner.start()

    async def close(self) -> None:
        await self.inner.close()

    async def write(
        self, path: str, data: bytes | AsyncIterator[bytes], *, content_type: str, only_if_new: bool
    ) -> None:
        self._record("write", path)
        await self.inner.write(path, data, content_type=content_type, only_if_new=only_if_new)

    async def read_info(self, path: str) -> FileInfo:
        self._record("read_info", path)
        return await self.inner.read_info(path)

    async def open(self, path: str) -> OpenFile:
        self._record("open", path)
        return await self.inner.open(path)

    async def list(self, prefix: str, *, after: str) -> AsyncIterator[Sequence[FileInfo]]:
        self._record("list", prefix)
        async for page in self.inner.list(prefix, after=after):
            yield page

    async def copy(self, source: str, target: str, *, only_if_new: bool, is_move: bool) -> None:
        self._record("move" if is_move else "copy", source)
        await self.inner.copy(source, target, only_if_new=only_if_new, is_move=is_move)

    async def delete(self, paths: Sequence[str]) -> dict[str, StorageError]:
        for path in paths:
            self._record("delete", path)
        return await self.inner.delete(paths)

    async def sign(self, path: str, signature: Signature) -> str:
        self._record("sign", path)
        seconds = int(signature.expires_in.total_seconds())
        return f"https://storage.invalid/{quote(path)}?method={signature.method}&expires_in={seconds}"

    async def tidy(self, age: timedelta) -> int:
        self._record("tidy", "")
        return await self.inner.tidy(age)

    def _record(self, operation: str, path: str) -> None:
        self.calls.append(Call(operation, path))
        if self.error is not None:
            raise self.error
