"""The class that users hold: one storage, whatever its driver."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from kpi_kit.drivers import choose_driver
from kpi_kit.errors import AlreadyOpenError, NotOpenError, UrlError
from kpi_kit.observing import Observer, observe
from kpi_kit.storage.contract import FileInfo, OpenFile, Signature, StorageDriver, Stored
from kpi_kit.storage.drivers import DRIVERS
from kpi_kit.storage.errors import NoPublicUrlError, NotStoredError, StorageError, StorageValueError
from kpi_kit.storage.paths import check_path, check_prefix
from kpi_kit.storage.sniffing import LOOKED_AT, sniff

_MINUTE = timedelta(minutes=1)
_LONGEST_SIGNATURE = timedelta(days=7)
# Beyond it, there may be no date.
_LONGEST_AGE = timedelta(days=365_000)


class Storage:
    """Files by path. Each path is checked by ``check_path`` first, so none leads out of the storage.

    All methods raise PathError for another path, StorageValueError for another argument that has no meaning,
    StorageUnavailableError for what may pass, and StorageRefusedError for what does not. It is a context manager:
    nothing is opened before it is entered.
    """

    def __init__(
        self, driver: StorageDriver, *, name: str, public_url: str | None = None, observer: Observer | None = None
    ) -> None:
        self._driver = driver
        self._name = name
        self._public_url = public_url
        self._observer = observer
        self._is_open = False

    @classmethod
    def from_url(cls, url: str | SecretStr, *, observer: Observer | None = None) -> Self:
        """A storage in a folder, a bucket or in memory; UrlError for a URL of another form (docs/kit/storage.md)."""
        chosen, parts = choose_driver(url, DRIVERS)
        driver: StorageDriver = chosen.load().create_driver(parts)
        public_url = _check_public_url(parts.options.get("public_url"))
        return cls(driver, name=chosen.name, public_url=public_url, observer=observer)

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise AlreadyOpenError("storage")
        await self._driver.start()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        await self._driver.close()

    async def put(self, path: str, data: bytes | AsyncIterable[bytes], *, only_if_new: bool = False) -> Stored:
        """Store a file, whole or in chunks as they come, in the place of one that is there.

        It is there as a whole or not at all: an error of ``data``, or the end of this task, leaves what was there. With
        ``only_if_new``, AlreadyStoredError if there is such a file.
        """
        check_path(path)
        with self._observe("put"):
            if isinstance(data, bytes):
                content_type, size = sniff(data[:LOOKED_AT]), len(data)
                await self._driver.write(path, data, content_type=content_type, only_if_new=only_if_new)
                return Stored(size, content_type)
            body = _Body(data)
            content_type = sniff(await body.read_beginning())
            await self._driver.write(path, body.chunks(), content_type=content_type, only_if_new=only_if_new)
            return Stored(body.size, content_type)

    async def get(self, path: str) -> bytes:
        """A whole file; NotStoredError if there is none."""
        check_path(path)
        with self._observe("get"):
            async with await self._driver.open(path) as file:
                return b"".join([chunk async for chunk in file])

    async def open(self, path: str) -> OpenFile:
        """A file to read in chunks, and to close (it is a context manager); NotStoredError if there is none."""
        check_path(path)
        with self._observe("open"):
            return await self._driver.open(path)

    async def read_metadata(self, path: str) -> FileInfo:
        """Size, time, entity tag, and the type that its first bytes show; NotStoredError if there is no file."""
        check_path(path)
        with self._observe("read_metadata"):
            return await self._driver.read_info(path)

    async def get_size(self, path: str) -> int:
        """In bytes; NotStoredError if there is no file."""
        return (await self.read_metadata(path)).size

    async def exists(self, path: str) -> bool:
        try:
            await self.read_metadata(path)
        except NotStoredError:
            return False
        return True

    async def delete(self, path: str) -> None:
        """A file that is not there is no error."""
        for error in (await self.delete_many([path])).values():
            raise error

    async def delete_many(self, paths: Iterable[str]) -> dict[str, StorageError]:
        """Delete what can be deleted, and return the rest with the errors."""
        checked = [check_path(path) for path in paths]
        with self._observe("delete"):
            return await self._driver.delete(checked)

    async def list(
        self, prefix: str = "", *, after: str = "", limit: int | None = None
    ) -> AsyncGenerator[FileInfo, None]:
        """The files in the folder ``prefix`` and those below it, in the order of their paths' bytes.

        ``after`` continues behind a path, so that pages need no other cursor. What something else has put there under a
        name that no path has is left out.
        """
        if limit is not None and limit < 0:
            raise StorageValueError("limit must not be negative")
        prefix, after = check_prefix(prefix), check_path(after) if after else ""
        pages, count = self._driver.list(prefix, after=after), 0
        while count != limit and (page := await self._take_page(pages)):
            for info in page if limit is None else page[: limit - count]:
                count += 1
                yield info

    async def _take_page(self, pages: AsyncIterator[Sequence[FileInfo]]) -> Sequence[FileInfo]:
        """The next page that has a file; an empty one after the last."""
        with self._observe("list"):
            while (page := await anext(pages, None)) is not None:
                if page:
                    return page
            return ()

    async def copy(self, source: str, target: str, *, only_if_new: bool = False) -> None:
        """NotStoredError if there is no source; AlreadyStoredError as ``put``."""
        await self._copy("copy", source, target, only_if_new=only_if_new)

    async def move(self, source: str, target: str, *, only_if_new: bool = False) -> None:
        """As ``copy``, and the source is gone. In a bucket these are two steps: an error may leave both files."""
        await self._copy("move", source, target, only_if_new=only_if_new)

    async def _copy(self, operation: str, source: str, target: str, *, only_if_new: bool) -> None:
        check_path(source)
        check_path(target)
        with self._observe(operation):
            if source == target and not only_if_new:
                # A bucket refuses to copy a file onto itself, and a move would delete it.
                await self._driver.read_info(source)
                return
            is_move = operation == "move" and source != target
            await self._driver.copy(source, target, only_if_new=only_if_new, is_move=is_move)

    def make_url(self, path: str) -> str:
        """Where clients find the file; NoPublicUrlError without the option ``public_url``. No call is made."""
        check_path(path)
        if self._public_url is None:
            raise NoPublicUrlError
        return f"{self._public_url}/{quote(path)}"

    async def sign_download(
        self,
        path: str,
        *,
        expires_in: timedelta = _MINUTE,
        content_type: str | None = None,
        disposition: str | None = None,
    ) -> str:
        """A URL with which a client can GET the file until it expires; CannotSignError if the driver signs none.

        The response has the given ``Content-Type`` and ``Content-Disposition``. Whether the file exists is not asked.
        """
        return await self._sign(path, Signature("GET", expires_in, content_type, disposition))

    async def sign_upload(self, path: str, *, size: int, content_type: str, expires_in: timedelta = _MINUTE) -> str:
        """A URL with which a client can PUT a file of exactly this size and ``Content-Type`` until it expires.

        What the client says of the type is not evidence: ``read_metadata`` finds it again.
        """
        return await self._sign(path, Signature("PUT", expires_in, content_type, None, size))

    async def _sign(self, path: str, signature: Signature) -> str:
        check_path(path)
        if not timedelta(seconds=1) <= signature.expires_in <= _LONGEST_SIGNATURE:
            raise StorageValueError("a signed URL must expire in one second at least and seven days at most")
        if not f"{signature.content_type or ''}{signature.disposition or ''}".isprintable():
            raise StorageValueError("a header must have no line break and no control character")
        if signature.size is not None and signature.size < 0:
            raise StorageValueError("size must not be negative")
        with self._observe("sign"):
            return await self._driver.sign(path, signature)

    async def tidy(self, *, age: timedelta = timedelta(days=1)) -> int:
        """Remove what uploads have left that began before ``age`` and ended with their process; how many there were.

        Such leftovers are in no listing. Call it once a day, with an age that no upload takes.
        """
        if not -_LONGEST_AGE <= age <= _LONGEST_AGE:
            raise StorageValueError("age must be at most 365,000 days")
        with self._observe("tidy"):
            return await self._driver.tidy(age)

    def _observe(self, operation: str) -> AbstractContextManager[object]:
        if not self._is_open:
            raise NotOpenError("storage")
        return observe(self._observer, "storage", operation, self._name)


class _Body:
    """A stream of chunks whose first bytes are looked at before."""

    def __init__(self, data: AsyncIterable[bytes]) -> None:
        self._data = aiter(data)
        self._beginning = b""
        self.size = 0

    async def read_beginning(self) -> bytes:
        while len(self._beginning) < LOOKED_AT:
            chunk = await anext(self._data, None)
            if chunk is None:
                break
            self._beginning += chunk
        return self._beginning[:LOOKED_AT]

    async def chunks(self) -> AsyncIterator[bytes]:
        self.size = len(self._beginning)
        yield self._beginning
        async for chunk in self._data:
            self.size += len(chunk)
            yield chunk


def _check_public_url(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or "@" in url:
        raise UrlError("the option public_url has the form https://files.example.com/folder, without a password")
    return url.rstrip("/")
