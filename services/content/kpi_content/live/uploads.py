"""A message that comes in deltas: shown to readers as it comes, and stored once, at its end.

However it ends, what came is stored as an interrupted message, unless its author may not write any more. No connection
to the database is held meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import structlog
from fastapi import Response
from kpi_shared.caller import Subject
from kpi_shared.database import Database
from kpi_shared.errors import ProblemError, UnauthenticatedError
from kpi_shared.idempotency import OnceOnly
from kpi_shared.revocations import Revocations
from kpi_shared.streams import AccessEndedError, while_permitted

from kpi_content.live.deltas import Delta, DeltaReader
from kpi_content.live.drafts import Draft
from kpi_content.messages import service
from kpi_content.messages.models import MAX_CONTENT
from kpi_content.messages.responses import created_response
from kpi_content.messages.schemas import MessageCreate
from kpi_content.messages.upload_errors import (
    EmptyUploadError,
    MalformedUploadError,
    SilentUploadError,
    StoppedUploadError,
    UploadError,
    UploadTooLongError,
)

log = structlog.get_logger(__name__)

# What follows the client's own end of the message is not waited for longer.
_DONE_SECONDS = 1.0
# The token of an API key expires a minute after its exchange, and a message may take longer.
LEAST_SECONDS = 900.0
# How long the end of the process waits for what is being stored.
_STORE_SECONDS = 5.0


class Upload:
    """``stop`` ends it early, as if its client had left."""

    def __init__(self, draft: Draft, reader: DeltaReader, once: OnceOnly, *, silence: float) -> None:
        self.draft = draft
        self.once = once
        self._reader = reader
        self._silence = silence
        self._first: Delta | None = None
        self._texts: list[str] = []
        self._length = 0
        self._limit = asyncio.timeout(None)
        self._is_receiving = False
        self._is_stopped = False
        draft.on_refusal = self.stop

    def stop(self) -> None:
        self._is_stopped = True
        if self._is_receiving and not self._limit.expired():
            self._limit.reschedule(0)

    def drop(self) -> None:
        """Forget what has come."""
        self._texts, self._length = [], 0

    async def receive(self, body: AsyncIterator[bytes]) -> None:
        """Returns at the regular end; UploadError is the reason of another one."""
        try:
            async with self._limit:
                await self._take_all(body)
        except TimeoutError:
            if self._is_stopped:
                raise StoppedUploadError from None
            if not self._reader.is_done:
                raise SilentUploadError from None
        for delta in self._reader.finish():
            self._add(delta)

    async def _take_all(self, body: AsyncIterator[bytes]) -> None:
        self._is_receiving = True
        try:
            self._wait_for_more()
            async for data in body:
                self._take(data)
                self._wait_for_more()
        finally:
            self._is_receiving = False

    def _wait_for_more(self) -> None:
        seconds = _DONE_SECONDS if self._reader.is_done else self._silence
        self._limit.reschedule(0 if self._is_stopped else asyncio.get_running_loop().time() + seconds)

    def _take(self, data: bytes) -> None:
        for delta in self._reader.read(data):
            self._add(delta)

    def _add(self, delta: Delta) -> None:
        if self._first is None:
            self._first = delta
            self.draft.role = delta.role or self.draft.role
        elif delta.role is not None or delta.metadata is not None:
            raise MalformedUploadError("Only the first delta may have a role and metadata")
        text = delta.delta[: MAX_CONTENT - self._length]
        if text:
            self._texts.append(text)
            self._length += len(text)
            self.draft.add(text)
        if len(text) < len(delta.delta):
            raise UploadTooLongError

    @property
    def message(self) -> MessageCreate | None:
        """What has come; None if that is nothing."""
        if not self._length:
            return None
        metadata = self._first.metadata if self._first is not None else None
        return MessageCreate(role=self.draft.role, content="".join(self._texts), metadata=metadata)


class Uploads:
    """The uploads of this process. What has come is stored even if the client leaves, which cancels the request."""

    def __init__(self, database: Database, revocations: Revocations | None) -> None:
        self._database = database
        self._revocations = revocations
        self._open: set[Upload] = set()
        self._storing: set[asyncio.Task[Response]] = set()
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._open)

    async def run(self, upload: Upload, body: AsyncIterator[bytes], *, caller: Subject) -> Response:
        """The response once it is stored; ProblemError if nothing is, or with the Location of what is incomplete."""
        self._open.add(upload)
        if self._is_stopping:
            upload.stop()
        reason: ProblemError | None = None
        try:
            reason = await self._receive(upload, body, caller)
        except BaseException:
            self._store(upload, caller=caller, is_interrupted=True)
            raise
        finally:
            self._open.discard(upload)
        storing = self._store(upload, caller=caller, is_interrupted=reason is not None)
        try:
            response = await asyncio.shield(storing)
        except EmptyUploadError as error:
            raise reason or error from None
        if reason is not None:
            reason.headers["Location"] = response.headers["Location"]
            raise reason
        return response

    async def _receive(self, upload: Upload, body: AsyncIterator[bytes], caller: Subject) -> ProblemError | None:
        """The reason why the message is incomplete, or None. One whose author is revoked is dropped."""
        try:
            async with while_permitted(self._revocations, caller, least=LEAST_SECONDS):
                await upload.receive(body)
        except UploadError as error:
            return error
        except AccessEndedError as error:
            if error.is_revoked:
                upload.drop()
            return UnauthenticatedError("The access token has ended", invalid=True)
        return None

    def _store(self, upload: Upload, *, caller: Subject, is_interrupted: bool) -> "asyncio.Task[Response]":
        work = self._write(upload, caller=caller, is_interrupted=is_interrupted)
        task = asyncio.create_task(work, name="upload")
        self._storing.add(task)
        task.add_done_callback(self._forget)
        return task

    async def _write(self, upload: Upload, *, caller: Subject, is_interrupted: bool) -> Response:
        response: Response | None = None
        await upload.draft.stop()
        try:
            if upload.message is None:
                raise EmptyUploadError
            if self._revocations is not None:
                self._revocations.require_known()
            response = await self._create(upload, upload.message, caller=caller, is_interrupted=is_interrupted)
        finally:
            if response is None:
                await upload.draft.end()
        return response

    async def _create(
        self, upload: Upload, message: MessageCreate, *, caller: Subject, is_interrupted: bool
    ) -> Response:
        conversation_id = upload.draft.conversation_id
        require = partial(service.check_writer, conversation_id=conversation_id, caller=caller)
        # An interrupted message is not what the client wanted: its retry is another one.
        begun = self._database.committing() if is_interrupted else upload.once.committing(caller, require=require)
        async with begun as connection:
            row = await service.create(
                connection,
                conversation_id=conversation_id,
                message=message,
                caller=caller,
                draft=upload.draft.id,
                is_interrupted=is_interrupted,
            )
            return await upload.once.keep(created_response(row))

    def _forget(self, task: "asyncio.Task[Response]") -> None:
        self._storing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("upload not stored", error=type(error).__name__)

    def stop(self) -> None:
        """End all of them, since the process ends. Each connection calls this when it closes; only once it counts."""
        if self._is_stopping:
            return
        self._is_stopping = True
        for upload in self._open:
            upload.stop()

    async def finish(self) -> None:
        """Wait until all that came is stored."""
        if self._storing:
            await asyncio.wait(self._storing, timeout=_STORE_SECONDS)
