"""A message while it is being written: its parts are sent to the readers of all replicas, and not kept."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from kpi_shared.background import Schedule, repeat
from kpi_shared.caller import Subject
from kpi_shared.database import Database
from pydantic_core import from_json, to_json

from kpi_content.live import repository
from kpi_content.live.hub import Hub
from kpi_content.live.reading import LiveEvent, encode_event
from kpi_content.messages.models import MessageRole

log = structlog.get_logger(__name__)

# Parts that come meanwhile are sent together.
BATCH_SECONDS = 0.05
# So many characters take less than the 8,000 bytes of a notification, even if each of them is escaped.
_PART = 1200
# Parts in one statement: what comes meanwhile waits for it.
_MOST_SENT = 500
# It waits until a draft has something.
_SCHEDULE = Schedule(interval=60.0, longest_backoff=1.0)


class Draft:
    """``id`` names it in the events of its parts and of its end."""

    def __init__(self, drafts: "Drafts", *, conversation_id: int, author: Subject, role: MessageRole) -> None:
        self.id = secrets.token_hex(8)
        self.conversation_id = conversation_id
        self.author_id = author.id
        self.role = role
        # Called when the author may not write any more.
        self.on_refusal: Callable[[], None] | None = None
        self._drafts = drafts
        self._author = {"id": author.id, "username": author.username, "deleted": False}
        self._waiting: list[str] = []
        # How many characters have been taken to be sent.
        self._position = 0
        self._is_refused = False

    def add(self, text: str) -> None:
        if not self._is_refused:
            self._waiting.append(text)
            self._drafts.note(self)

    async def stop(self) -> None:
        """Send no more parts."""
        self._waiting.clear()
        await self._drafts.remove(self)

    async def end(self) -> None:
        """Tell readers that no message follows. One that is stored has an event of its own."""
        await self._drafts.send_end(self, self._encode("draft.ended", {"draft": self.id}))

    def refuse(self) -> None:
        self._is_refused = True
        self._waiting.clear()
        if self.on_refusal is not None:
            self.on_refusal()

    def take_parts(self) -> list[str]:
        """What waits, as it is sent."""
        text, self._waiting = "".join(self._waiting), []
        return [self._describe(text[at : at + _PART]) for at in range(0, len(text), _PART)]

    def _describe(self, text: str) -> str:
        position, self._position = self._position, self._position + len(text)
        part = {"draft": self.id, "role": self.role, "author": self._author, "text": text, "position": position}
        return self._encode("message.delta", part)

    def _encode(self, event_type: str, data: Mapping[str, Any]) -> str:
        return to_json([self.conversation_id, event_type, data]).decode()


class Drafts:
    """The drafts of this process. One statement sends what waits of all of them: a transaction each would be too many.

    A process that does not listen hears itself alone.
    """

    def __init__(self, hub: Hub, database: Database) -> None:
        self._hub = hub
        self._database = database
        self._waiting: dict[Draft, None] = {}
        self._sending: frozenset[Draft] = frozenset()
        self._wake = asyncio.Event()
        self._sent = asyncio.Event()

    async def run(self) -> None:
        await repeat(self._step, _SCHEDULE, failure="drafts not sent", wake=self._wake)

    def note(self, draft: Draft) -> None:
        """Note that the draft has something to send."""
        self._waiting[draft] = None
        self._wake.set()

    async def remove(self, draft: Draft) -> None:
        self._waiting.pop(draft, None)
        while draft in self._sending:
            await self._sent.wait()

    async def send_end(self, draft: Draft, payload: str) -> None:
        """Even if the author may not write any more."""
        try:
            async with self._database.direct() as connection:
                await repository.send(connection, payload=payload)
        except Exception as error:  # noqa: BLE001 the message itself is not lost
            log.warning("end of draft not sent", draft=draft.id, error=type(error).__name__)
        else:
            self._hear([payload])

    async def _step(self) -> bool:
        await self.send_waiting()
        await asyncio.sleep(BATCH_SECONDS)
        return bool(self._waiting)

    async def send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        parts = [(draft, payload) for draft in waiting for payload in draft.take_parts()]
        self._sending = frozenset(waiting)
        self._sent.clear()
        try:
            for start in range(0, len(parts), _MOST_SENT):
                await self._send(parts[start : start + _MOST_SENT])
        finally:
            self._sending = frozenset()
            self._sent.set()

    async def _send(self, parts: Sequence[tuple[Draft, str]]) -> None:
        try:
            await self._send_those_allowed(parts)
        except Exception as error:  # noqa: BLE001 as above
            log.warning("drafts not sent", count=len(parts), error=type(error).__name__)

    async def _send_those_allowed(self, parts: Sequence[tuple[Draft, str]]) -> None:
        rows = [(draft.conversation_id, draft.author_id, payload) for draft, payload in parts]
        async with self._database.direct() as connection:
            sent = await repository.send_of_writers(connection, parts=rows)
        self._hear([parts[at][1] for at in sent])
        for draft in {draft for draft, _ in parts} - {parts[at][0] for at in sent}:
            draft.refuse()

    def _hear(self, payloads: Iterable[str]) -> None:
        if not self._hub.is_listening:
            for payload in payloads:
                receive_draft(self._hub, payload, is_ordered=False)


def receive_draft(hub: Hub, payload: str, *, is_ordered: bool) -> None:
    conversation_id, event_type, data = from_json(payload)
    if hub.is_followed(conversation_id):
        hub.note_draft(conversation_id, LiveEvent(0, encode_event(event_type, data)), is_ordered=is_ordered)
