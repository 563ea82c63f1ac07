"""What the drivers over obstore have in common."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from kpi_kit.storage.contract import CHUNK, FileInfo, OpenFile, Signature
from kpi_kit.storage.errors import (
    AlreadyStoredError,
    CannotSignError,
    NotStoredError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
)
from kpi_kit.storage.paths import is_path
from kpi_kit.storage.sniffing import LOOKED_AT, sniff

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

_PAGE = 1000
# What a server says of itself in its response, and its status.
_CODE = re.compile(r"<Code>(\w{1,64})</Code>|\(code: (\w{1,64})\)")
_STATUS = re.compile(r"status code: (\d{3})")
_REFUSALS = (PermissionError, obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)


class ObjectDriver:
    """See ``StorageDriver``. Both drivers differ in how they write."""

    name: str
    _store: "ObjectStore"

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def write(
        self, path: str, data: bytes | AsyncIterator[bytes], *, content_type: str, only_if_new: bool
    ) -> None:
        whole = data if isinstance(data, bytes) else b"".join([chunk async for chunk in data])
        await self._put(path, whole, content_type=content_type, only_if_new=only_if_new)

    async def read_info(self, path: str) -> FileInfo:
        with translate_errors(path):
            meta = await obstore.head_async(self._store, path)
            if not meta["size"]:
                return _describe(meta, sniff(b""))
            # Never the type that a bucket gives: with a signed URL, a client has chosen it.
            first = await obstore.get_range_async(self._store, path, start=0, length=min(LOOKED_AT, meta["size"]))
        return _describe(meta, sniff(bytes(first)))

    async def open(self, path: str) -> OpenFile:
        with translate_errors(path):
            result = await obstore.get_async(self._store, path)
            chunks = result.stream(min_chunk_size=CHUNK).__aiter__()
            first = bytes(await anext(chunks, b""))
        return OpenFile(_describe(result.meta, sniff(first)), _Chunks(path, first, chunks), lambda: None)

    async def list(self, prefix: str, *, after: str) -> AsyncIterator[Sequence[FileInfo]]:
        pages = obstore.list(self._store, prefix or None, offset=after or None, chunk_size=_PAGE)
        while True:
            with translate_errors(prefix):
                page = await anext(pages, None)
            if page is None:
                return
            yield [_describe(meta) for meta in page if is_path(meta["path"])]

    async def copy(self, source: str, target: str, *, only_if_new: bool, is_move: bool) -> None:
        with translate_errors(source, target):
            await obstore.copy_async(self._store, source, target, overwrite=not only_if_new)
        if is_move:
            for error in (await self.delete([source])).values():
                raise error

    async def delete(self, paths: Sequence[str]) -> dict[str, StorageError]:
        failed: dict[str, StorageError] = {}
        for start in range(0, len(paths), _PAGE):
            failed |= await self._delete_page(paths[start : start + _PAGE])
        return failed

    async def sign(self, path: str, signature: Signature) -> str:
        del path, signature
        raise CannotSignError(self.name)

    async def tidy(self, age: timedelta) -> int:
        del age
        return 0

    async def _put(self, path: str, data: bytes, *, content_type: str, only_if_new: bool) -> None:
        mode: Literal["create", "overwrite"] = "create" if only_if_new else "overwrite"
        attributes = {"Content-Type": content_type}
        with translate_errors(path):
            await obstore.put_async(self._store, path, data, attributes=attributes, mode=mode, use_multipart=False)

    async def _delete_page(self, paths: Sequence[str]) -> dict[str, StorageError]:
        try:
            with translate_errors(paths[0]):
                await obstore.delete_async(self._store, paths)
        except StorageUnavailableError as error:
            return dict.fromkeys(paths, error)
        except StorageError as error:
            # obstore ends with the first failure, and does not say which path has it.
            if len(paths) == 1:
                return {} if isinstance(error, NotStoredError) else {paths[0]: error}
            each = [await self._delete_page([path]) for path in paths]
            return {path: error for failed in each for path, error in failed.items()}
        return {}


class _Chunks:
    """The chunks of a response, of which the first is here already."""

    def __init__(self, path: str, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._path = path
        self._first = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        with translate_errors(self._path):
            return bytes(await anext(self._rest))


@contextmanager
def translate_errors(path: str, target: str = "") -> Iterator[None]:
    """Raise the storage's own errors in the place of obstore's, whose texts quote URLs and whole responses."""
    try:
        yield
    except FileNotFoundError as error:
        # S3 has one status for a bucket and for a file that is not there.
        reason = _find_reason(error)
        raise (StorageRefusedError(reason) if reason == "NoSuchBucket" else NotStoredError(path)) from None
    except (AlreadyExistsError, PreconditionError):
        raise AlreadyStoredError(target or path) from None
    except _REFUSALS as error:
        raise StorageRefusedError(_find_reason(error)) from None
    except (BaseError, NotImplementedError, ValueError, OSError) as error:
        reason = _find_reason(error)
        status = _STATUS.search(str(error))
        is_refused = reason == "AccessDenied" or (status is not None and status[1].startswith("4"))
        raise (StorageRefusedError(reason) if is_refused else StorageUnavailableError(reason)) from None


def _find_reason(error: BaseException) -> str:
    code = _CODE.search(str(error))
    if code is not None:
        return code[1] or code[2]
    status = _STATUS.search(str(error))
    return f"status {status[1]}" if status is not None else type(error).__name__


def _describe(meta: "ObjectMeta", content_type: str | None = None) -> FileInfo:
    etag = (meta["e_tag"] or "").strip('"')
    return FileInfo(meta["path"], meta["size"], meta["last_modified"], etag, content_type)
