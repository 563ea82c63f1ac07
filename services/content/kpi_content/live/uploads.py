"""A message that comes in deltas: shown to readers as it comes, and stored once, at its end.

However it ends, what came is stored as an interrupted message, unless its author may not write any more. No connection
to the database is held meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from time import monotonic
from typing import NamedTuple

import structlog
from fastapi import Response
from kpi_shared.background import InFlight, backoff
from kpi_shared.caller import Subject
from kpi_shared.database import Database
from kpi_shared.database.failures import is_unavailable
from kpi_shared.errors import ProblemError, UnauthenticatedError
from kpi_shared.idempotency import OnceOnly
from kpi_shared.idempotency.errors import KeyReusedError, RequestInFlightError
from kpi_shared.idempotency.once import ProcessedBefore
from kpi_shared.revocations import Revocations
from kpi_shared.streams import AccessEndedError, while_permitted
from pydantic_core import from_json
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.live.deltas import Delta, DeltaParser
from kpi_content.live.drafts import Draft
from kpi_content.live.keys import KeysInFlight
from kpi_content.live.limits import OpenByAccount
from kpi_content.messages import service
from kpi_content.messages.models import MAX_CONTENT
from kpi_content.messages.responses import created_response
from kpi_content.messages.schemas import MessageCreate
from kpi_content.messages.upload_errors import (
    EmptyUploadError,
    MalformedUploadError,
    RefusedUploadError,
    SilentUploadError,
    StoppedUploadError,
    TooManyUploadsError,
    UploadError,
    UploadTooLongError,
)
from kpi_content.search.schemas import MAX_MARKS, MarkRun

log = structlog.get_logger(__name__)

# What follows the client's own end of the message is not waited for longer.
_DONE_SECONDS = 1.0
# The token of an API key expires a minute after its exchange, and a message may take longer.
LEAST_SECONDS = 900.0
# For how long storing is tried again while the database is unavailable.
RETRY_SECONDS = 4.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 1.0
# How long the end of the process waits for what is being stored.
_STORE_SECONDS = 5.0


class Upload:
    """``stop`` and ``refuse`` end it early; ``silence`` is in seconds."""

    def __init__(self, draft: Draft, parser: DeltaParser, once: OnceOnly, *, silence: float) -> None:
        self.draft = draft
        self.once = once
        # The hash of the Idempotency-Key.
        self.key: bytes | None = None
        self._parser = parser
        self._silence = silence
        self._first: Delta | None = None
        self._texts: list[str] = []
        self._length = 0
        self._marks = MarkRun()
        self._limit = asyncio.timeout(None)
        self._is_receiving = False
        # Whether the statement that stores it has been sent.
        self.is_sent = False
        # Why it is to end early.
        self._end: UploadError | None = None
        draft.on_refusal = self.refuse

    def stop(self) -> None:
        """End early: the process is stopping."""
        self._end_early(StoppedUploadError())

    def refuse(self) -> None:
        """End early: its author may not write any more."""
        self._end_early(RefusedUploadError())

    def _end_early(self, reason: UploadError) -> None:
        self._end = self._end or reason
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
            if self._end is not None:
                raise self._end from None
            if not self._parser.is_done:
                raise SilentUploadError from None
        for delta in self._parser.finish():
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
        seconds = _DONE_SECONDS if self._parser.is_done else self._silence
        self._limit.reschedule(0 if self._end is not None else asyncio.get_running_loop().time() + seconds)

    def _take(self, data: bytes) -> None:
        for delta in self._parser.read(data):
            self._add(delta)

    def _add(self, delta: Delta) -> None:
        if self._first is None:
            self._first = delta
            self.draft.role = delta.role or self.draft.role
        elif delta.role is not None or delta.metadata is not None:
            raise MalformedUploadError(f"Line {self._parser.line}: only the first delta may have a role and metadata")
        text = delta.delta[: MAX_CONTENT - self._length]
        if self._marks.is_too_long(text):
            raise MalformedUploadError(f"The text has more than {MAX_MARKS} combining marks in a row")
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


class _Stored(NamedTuple):
    """``refusal`` is the reason why the whole message is stored as an interrupted one: its key has had another."""

    response: Response
    refusal: ProblemError | None = None


class Uploads:
    """The uploads of this process. What has come is stored even if the client leaves, which cancels the request."""

    def __init__(
        self, database: Database, revocations: Revocations | None, keys: KeysInFlight, *, most_of_account: int
    ) -> None:
        self._accounts = OpenByAccount(most_of_account, refusal=TooManyUploadsError)
        self._database = database
        self._revocations = revocations
        self._keys = keys
        self._open: set[Upload] = set()
        self._storing = InFlight()
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._open)

    async def run(self, upload: Upload, body: AsyncIterator[bytes], *, caller: Subject) -> Response:
        """The response once it is stored; ProblemError if nothing is, or with the Location of what is incomplete."""
        self._accounts.check(caller.id)
        with self._accounts.holding(caller.id):
            return await self._run(upload, body, caller)

    async def _run(self, upload: Upload, body: AsyncIterator[bytes], caller: Subject) -> Response:
        await self._take_key(upload, caller)
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
            response, refusal = await asyncio.shield(storing)
        except EmptyUploadError as error:
            raise reason or error from None
        reason = reason or refusal
        if reason is not None:
            reason.headers["Location"] = response.headers["Location"]
            raise reason
        return response

    async def _take_key(self, upload: Upload, caller: Subject) -> None:
        """RequestInFlightError, or the end with the response of a message that is stored already: it is not read."""
        upload.key = upload.once.hash_of(caller)
        await self._keys.take(upload.key)
        try:
            await upload.once.look_up(caller)
        except BaseException:
            await self._keys.release(upload.key)
            raise

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
            return _access_ended()
        return None

    def _store(self, upload: Upload, *, caller: Subject, is_interrupted: bool) -> "asyncio.Task[_Stored]":
        task = self._storing.start(self._write(upload, caller=caller, is_interrupted=is_interrupted))
        task.add_done_callback(partial(_report_failure, upload.draft.conversation_id, caller.id))
        return task

    async def _write(self, upload: Upload, *, caller: Subject, is_interrupted: bool) -> _Stored:
        stored: _Stored | None = None
        if is_interrupted:
            # Before readers see that: an interrupted message is not what the client wanted, so its retry is another.
            await self._keys.release(upload.key)
        await upload.draft.stop()
        try:
            if upload.message is None:
                raise EmptyUploadError
            stored = await self._create_patiently(upload, upload.message, caller=caller, is_interrupted=is_interrupted)
        finally:
            await self._keys.release(upload.key)
            if stored is None:
                await upload.draft.end()
        return stored

    async def _create_patiently(
        self, upload: Upload, message: MessageCreate, *, caller: Subject, is_interrupted: bool
    ) -> _Stored:
        """Also if the database is unavailable for a moment, since the client may not be able to repeat its stream."""
        end = monotonic() + RETRY_SECONDS
        for failures in count(1):
            self._require_permission(caller)
            upload.is_sent = False
            try:
                return await self._create(upload, message, caller=caller, is_interrupted=is_interrupted)
            except Exception as error:
                pause = backoff(failures, first=_FIRST_BACKOFF, longest=_LONGEST_BACKOFF)
                if monotonic() + pause > end or not is_unavailable(error, is_certain=upload.is_sent):
                    raise
                log.info("upload not stored yet", error=type(error).__name__)
            await asyncio.sleep(pause)
        raise AssertionError("a count has no end")

    def _require_permission(self, caller: Subject) -> None:
        if self._revocations is not None:
            self._revocations.require_known()
            if self._revocations.is_revoked(caller):
                raise _access_ended()

    async def _create(
        self, upload: Upload, message: MessageCreate, *, caller: Subject, is_interrupted: bool
    ) -> _Stored:
        refusal: ProblemError | None = None
        if not is_interrupted:
            try:
                return _Stored(await self._create_once(upload, message, caller=caller))
            except ProcessedBefore as stored:
                if _is_same(stored.response, message):
                    raise
                refusal = KeyReusedError()
            except (KeyReusedError, RequestInFlightError) as error:
                refusal = error
        async with self._database.committing() as connection:
            return _Stored(await _add(connection, upload, message, caller=caller, is_interrupted=True), refusal)

    async def _create_once(self, upload: Upload, message: MessageCreate, *, caller: Subject) -> Response:
        require = partial(service.check_writer, conversation_id=upload.draft.conversation_id, caller=caller)
        async with upload.once.committing(caller, require=require) as connection:
            response = await _add(connection, upload, message, caller=caller, is_interrupted=False)
            return await upload.once.keep(response)

    def stop(self) -> None:
        """End all of them, since the process ends. A second call does nothing."""
        if self._is_stopping:
            return
        self._is_stopping = True
        for upload in self._open:
            upload.stop()

    async def finish(self) -> None:
        """Wait until all that came is stored; what takes too long is cancelled, before the database closes."""
        await self._storing.finish(grace=_STORE_SECONDS)


def _report_failure(conversation_id: int, author_id: int, task: "asyncio.Task[_Stored]") -> None:
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is not None:
        values = {"conversation_id": conversation_id, "user_id": author_id}
        log.info("upload not stored", error=type(error).__name__, **values)


async def _add(
    connection: AsyncConnection, upload: Upload, message: MessageCreate, *, caller: Subject, is_interrupted: bool
) -> Response:
    upload.is_sent = True
    row = await service.create(
        connection,
        conversation_id=upload.draft.conversation_id,
        message=message,
        caller=caller,
        draft=upload.draft.id,
        is_interrupted=is_interrupted,
    )
    return created_response(row)


def _access_ended() -> UnauthenticatedError:
    return UnauthenticatedError("The access token has expired or was revoked", invalid=True)


def _is_same(response: Response, message: MessageCreate) -> bool:
    """Whether the response is about a message with the same role, content and metadata."""
    stored = from_json(bytes(response.body))
    return all(stored[name] == value for name, value in message.model_dump(mode="json").items())
