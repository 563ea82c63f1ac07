"""The store of a service, as FILES_URL names it, and what its endpoints ask for."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import structlog
from fastapi import Depends, FastAPI, Request

from kpi_shared.files.bucket import BucketStore
from kpi_shared.files.errors import FilesUnavailableError
from kpi_shared.files.folder import FolderStore
from kpi_shared.files.store import FileStore
from kpi_shared.settings import ServiceSettings

log = structlog.get_logger(__name__)


class Files:
    """The files of one part. ``key_of`` gives the place of one."""

    def __init__(self, store: FileStore, part: str) -> None:
        self.store = store
        self.part = part

    def key_of(self, table: str, field: str, etag: str) -> str:
        return f"{self.part}/{table}/{field}/{etag}"

    async def forget(self, *keys: str) -> None:
        """Remove files that no row names any more. What fails is left to housekeeping."""
        try:
            await self.remove(*keys)
        except OSError as error:
            log.warning("files were not removed", error=str(error), files=len(keys))

    async def remove(self, *keys: str) -> int:
        """Remove files, and return how many are gone. OSError if the store cannot be reached."""
        failed = await self.store.remove(*keys)
        if failed:
            log.warning("files were not removed", error=", ".join(sorted(set(failed.values()))), files=len(failed))
        return len(keys) - len(failed)


def open_store(settings: ServiceSettings) -> FileStore | None:
    if settings.files_url is None:
        return None
    url = urlsplit(settings.files_url)
    if url.scheme == "file":
        return FolderStore(Path(unquote(url.path)))
    prefix = url.path.strip("/")
    return BucketStore(url.netloc, prefix, region=settings.aws_region, endpoint_url=settings.files_endpoint_url)


async def file_storage(app: FastAPI) -> AsyncIterator[None]:
    """The resource behind ``FilesOfApp``."""
    settings: ServiceSettings = app.state.settings
    store = open_store(settings)
    app.state.files = None if store is None else Files(store, settings.part.name)
    yield
    if store is not None:
        await store.close()


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
