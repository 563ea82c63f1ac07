"""The store of a service, as FILES_URL names it, and what its endpoints ask for."""

import re
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

import structlog
from fastapi import Depends, FastAPI, Request
from kpi_kit.observing import Observer
from kpi_kit.storage import CannotSignError, NotStoredError, OpenFile, Storage, StorageError

from kpi_shared.files.errors import FilesUnavailableError
from kpi_shared.settings import ServiceSettings

log = structlog.get_logger(__name__)

# Part, table, field, and a random name. Nothing that a client sends is in it.
_KEY = re.compile(r"[a-z][a-z0-9_-]*/[a-z][a-z0-9_]*/[a-z][a-z0-9_]*/[A-Za-z0-9_-]{22}")
_PAGE = 1000


class Files:
    """The files of one part. ``key_of`` gives the place of one. StorageError for a storage that does not work."""

    def __init__(self, storage: Storage, part: str) -> None:
        self.storage = storage
        self.part = part

    def key_of(self, table: str, field: str, etag: str) -> str:
        return f"{self.part}/{table}/{field}/{etag}"

    async def open(self, key: str) -> OpenFile | None:
        """A file to read and to close, or None if there is none."""
        try:
            return await self.storage.open(key)
        except NotStoredError:
            return None

    async def sign(self, key: str, *, media_type: str, disposition: str) -> str | None:
        """An address where the client itself may read the file for a minute; None: read it here."""
        try:
            return await self.storage.sign_download(key, content_type=media_type, disposition=disposition)
        except CannotSignError:
            return None

    async def list_old(self, *, age: timedelta) -> AsyncIterator[list[str]]:
        """The keys of files of this part that are older, at most a thousand at a time.

        What has no key's name, because something else put it there, is left out.
        """
        before, page = datetime.now(UTC) - age, list[str]()
        async for info in self.storage.list(self.part):
            if _KEY.fullmatch(info.path) and info.modified_at < before:
                page.append(info.path)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    async def forget(self, *keys: str) -> None:
        """Remove files that no row names any more. What fails is left to housekeeping."""
        try:
            await self.remove(*keys)
        except StorageError as error:
            log.warning("files were not removed", error=str(error), files=len(keys))

    async def remove(self, *keys: str) -> int:
        """Remove files, and return how many are gone."""
        failed = await self.storage.delete_many(keys)
        if failed:
            reasons = ", ".join(sorted({error.reason for error in failed.values()}))
            log.warning("files were not removed", error=reasons, files=len(failed))
        return len(keys) - len(failed)


def create_storage(settings: ServiceSettings, observer: Observer) -> Storage | None:
    url = settings.files_url
    if url is None:
        return None
    if not url.startswith("file:"):
        options = {"region": settings.aws_region, "endpoint": settings.files_endpoint_url}
        url = f"{url}?{urlencode({name: value for name, value in options.items() if value})}"
    return Storage.from_url(url, observer=observer)


async def file_storage(app: FastAPI) -> AsyncIterator[None]:
    """The resource behind ``FilesOfApp``."""
    settings: ServiceSettings = app.state.settings
    storage = create_storage(settings, app.state.observation.calls)
    app.state.files = None if storage is None else Files(storage, settings.part.name)
    async with storage or nullcontext():
        yield


async def _files(request: Request) -> Files:
    files: Files | None = request.app.state.files
    if files is None:
        raise FilesUnavailableError("This service has no storage for files: FILES_URL is not set")
    return files


FilesOfApp = Annotated[Files, Depends(_files)]


class Discarded:
    """Files of rows that this request deletes. They are removed after its transaction has been committed."""

    def __init__(self) -> None:
        self.keys: list[str] = []


async def _discarded(files: FilesOfApp) -> AsyncIterator[Discarded]:
    discarded = Discarded()
    yield discarded
    # An exception of the endpoint or of the commit is raised at the yield.
    if discarded.keys:
        await files.forget(*discarded.keys)


# It ends with the request, and a transaction of the endpoint ends before it.
DiscardedFiles = Annotated[Discarded, Depends(_discarded, scope="request")]
