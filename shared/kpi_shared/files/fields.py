"""The endpoints of a field that is a file: what they have in common."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from kpi_kit.storage import OpenFile, StorageError
from kpi_kit.storage.sniffing import IMAGES, LOOKED_AT, UNKNOWN, sniff
from starlette.types import Receive, Scope, Send

from kpi_shared import deadlines
from kpi_shared.database import Database, DirectConnection, get_direct
from kpi_shared.deadlines import MORE_BODY_BYTES
from kpi_shared.files.errors import (
    EmptyFileError,
    FilesUnavailableError,
    FileTooLargeError,
    NoFileError,
    NotAnImageError,
)
from kpi_shared.files.models import StoredFile
from kpi_shared.files.storage import Discarded, Files
from kpi_shared.http.conditional import is_not_modified
from kpi_shared.http.middleware import IS_HEAD, MAX_BODY_BYTES
from kpi_shared.http.openapi import Responses, problems

# Storing may take this much longer than other requests, in seconds.
_STORING_SECONDS = 8.0

Row = Mapping[str, Any]
# Changes the row, on this connection, to these values of its fields, and returns it.
Change = Callable[..., Awaitable[Row]]


class Rows(Protocol):
    """The rows that have the field: ``kpi_shared.records.repository.Records``."""

    async def get_or_raise(self, connection: DirectConnection, row_id: int) -> Row: ...

    async def lock(self, connection: DirectConnection, row_id: int) -> Row: ...


class FileField:
    """One field of a table. ``most`` is the greatest size in bytes."""

    def __init__(self, rows: Rows, table: str, name: str, *, most: int, images_only: bool = False) -> None:
        self._rows = rows
        self._table = table
        self._name = name
        self._most = most
        self._images_only = images_only

    @property
    def upload(self) -> dict[str, Any]:
        """``openapi_extra`` of the PUT: the body is the file itself."""
        types = [*IMAGES, UNKNOWN] if self._images_only else ["*/*"]
        schema = {"type": "string", "format": "binary", "maxLength": self._most}
        body = {"required": True, "content": {name: {"schema": schema} for name in types}}
        return {"requestBody": body, MAX_BODY_BYTES: self._most}

    @property
    def errors(self) -> Responses:
        kinds = [FileTooLargeError, EmptyFileError, FilesUnavailableError]
        return problems(*kinds, *([NotAnImageError] if self._images_only else []))

    @property
    def downloads(self) -> Responses:
        """The ``responses`` of the GET."""
        file: Responses = {
            200: {"description": "The file", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
            307: {"description": "The file is at the address in Location, for a minute"},
        }
        return problems(NoFileError, FilesUnavailableError) | file

    async def replace(self, request: Request, files: Files, database: Database, *, row_id: int, change: Change) -> Row:
        """Store the body of the request as the file of a row, in place of the one that it had.

        The row is asked first whether it may be changed, so that nothing is stored in vain; no transaction is open
        while the body comes.
        """
        await self._check(database, change)
        stored = await self._receive(request, files)
        return await self._exchange(files, database, row_id=row_id, change=change, stored=stored)

    async def remove(self, files: Files, database: Database, *, row_id: int, change: Change) -> None:
        """Take the file of a row away; NoFileError if it has none."""
        await self._exchange(files, database, row_id=row_id, change=change, stored=None)

    async def send(self, request: Request, files: Files, row: Row) -> Response:
        """The file, or where to read it; an image may be shown in a page, anything else is to be saved."""
        response = await self._send(request, files, row)
        if response is None:
            # The row was read before its file was replaced or removed.
            database: Database = request.app.state.database
            async with database.direct() as connection:
                row = await self._rows.get_or_raise(connection, row["id"])
            response = await self._send(request, files, row)
        if response is None:
            raise NoFileError
        return response

    async def _send(self, request: Request, files: Files, row: Row) -> Response | None:
        """None if the store does not have the file that the row names."""
        if row[self._name] is None:
            raise NoFileError
        stored = StoredFile(**row[self._name])
        disposition = "inline" if stored.media_type in IMAGES else "attachment"
        headers = _headers(stored, disposition)
        if is_not_modified(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        key = files.key_of(self._table, self._name, stored.etag)
        try:
            if url := await files.sign(key, media_type=stored.media_type, disposition=disposition):
                return Response(status_code=307, headers=headers | {"Location": url, "Cache-Control": "no-store"})
            file = await files.open(key)
        except StorageError as error:
            raise FilesUnavailableError from error
        if file is None:
            return None
        headers |= {"Content-Length": str(stored.size)}
        if request.scope.get(IS_HEAD):
            file.close()
            return Response(headers=headers, media_type=stored.media_type)
        return _FileResponse(file, headers=headers, media_type=stored.media_type)

    def discard(self, row: Row, files: Files, discarded: Discarded) -> None:
        """Have the file of a row removed after this request's transaction has deleted the row."""
        if row[self._name] is not None:
            discarded.keys.append(files.key_of(self._table, self._name, row[self._name]["etag"]))

    async def _check(self, database: Database, change: Change) -> None:
        """Make a change that changes nothing, and take it back."""
        async with database.writing() as connection, connection.begin_nested() as savepoint:
            await change(await get_direct(connection), changes={})
            await savepoint.rollback()

    async def _exchange(
        self, files: Files, database: Database, *, row_id: int, change: Change, stored: StoredFile | None
    ) -> Row:
        """Have the row name this file, and forget the one that it named before."""
        is_committing = False
        try:
            async with database.writing() as connection:
                before, row = await self._set(await get_direct(connection), row_id, change, stored)
                is_committing = True
        except BaseException:
            # A COMMIT that was cancelled, or whose connection broke, may have had its effect: then the row names the
            # file. If no row does, housekeeping removes it.
            if stored is not None and not is_committing:
                await files.forget(files.key_of(self._table, self._name, stored.etag))
            raise
        if before is not None:
            await files.forget(files.key_of(self._table, self._name, before["etag"]))
        return row

    async def _set(
        self, connection: DirectConnection, row_id: int, change: Change, stored: StoredFile | None
    ) -> tuple[dict[str, Any] | None, Row]:
        """The value of the field before, and the row after."""
        before = (await self._rows.lock(connection, row_id))[self._name]
        row = await change(connection, changes={self._name: None if stored is None else stored._asdict()})
        if stored is None and before is None:
            raise NoFileError
        return before, row

    async def _receive(self, request: Request, files: Files) -> StoredFile:
        request.scope[MORE_BODY_BYTES] = self._most
        deadlines.extend(_STORING_SECONDS)
        etag = secrets.token_urlsafe(16)
        async with aclosing(request.stream()) as stream:
            body = _Body(stream, self._most)
            beginning = await body.read_beginning()
            media_type = sniff(beginning)
            if not beginning:
                raise EmptyFileError
            if self._images_only and media_type not in IMAGES:
                raise NotAnImageError
            key = files.key_of(self._table, self._name, etag)
            try:
                await files.storage.put(key, body.chunks())
            except StorageError as error:
                raise FilesUnavailableError from error
        return StoredFile(media_type, body.size, etag)


class _FileResponse(StreamingResponse):
    """Closes its file however it ends, also where the client has left before the first chunk."""

    def __init__(self, file: OpenFile, *, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(file, headers=headers, media_type=media_type)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


class _Body:
    """A body as it comes, up to its limit."""

    def __init__(self, stream: AsyncIterator[bytes], most: int) -> None:
        self._stream = stream
        self._most = most
        self._beginning = b""
        self.size = 0

    async def read_beginning(self) -> bytes:
        """So much that the type can be found, or all of a shorter body."""
        async for chunk in self._stream:
            self._beginning += self._count(chunk)
            if len(self._beginning) >= LOOKED_AT:
                break
        return self._beginning

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._beginning
        async for chunk in self._stream:
            yield self._count(chunk)

    def _count(self, chunk: bytes) -> bytes:
        self.size += len(chunk)
        if self.size > self._most:
            raise FileTooLargeError(f"A file has at most {self._most} bytes here")
        return chunk


def _headers(stored: StoredFile, disposition: str) -> dict[str, str]:
    return {
        "ETag": f'"{stored.etag}"',
        "Content-Disposition": disposition,
        "X-Content-Type-Options": "nosniff",
        # What is shown in a page of its own runs nothing.
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization",
    }
