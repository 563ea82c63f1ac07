"""A message while it is being written: its parts are sent to the readers of all replicas, and not kept."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import structlog
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


class Draft:
    """``id`` names it in the events of its parts and of its end."""

    def __init__(
        self, hub: Hub, database: Database, *, conversation_id: int, author: Subject, role: MessageRole
    ) -> None:
        self.id = secrets.token_hex(8)
        self.conversation_id = conversation_id
        self.role = role
        self._hub = hub
        self._database = database
        self._author = {"id": author.id, "username": author.username, "deleted": False}
        # Called when the author may not write any more.
        self.on_refusal: Callable[[], None] | None = None
        self._author_id = author.id
        self._waiting: list[str] = []
        # How many characters have been sent.
        self._position = 0
        self._sending: asyncio.Task[None] | None = None
        self._is_pausing = False

    def add(self, text: str) -> None:
        self._waiting.append(text)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_waiting(), name="draft")

    async def stop(self) -> None:
        """Send no part any more."""
        self._waiting.clear()
        if self._sending is not None:
            if self._is_pausing:
                self._sending.cancel()
            await asyncio.wait({self._sending})

    async def end(self) -> None:
        """Tell readers that no message follows. One that is stored has an event of its own."""
        await self._publish([("draft.ended", {"draft": self.id})], is_end=True)

    async def _send_waiting(self) -> None:
        """At once, and then as long as there is more."""
        while self._waiting:
            text, self._waiting = "".join(self._waiting), []
            parts = [self._describe(text[at : at + _PART]) for at in range(0, len(text), _PART)]
            if not await self._publish(parts) and self.on_refusal is not None:
                self.on_refusal()
                return
            self._is_pausing = True
            await asyncio.sleep(BATCH_SECONDS)
            self._is_pausing = False
        self._sending = None

    def _describe(self, text: str) -> tuple[str, Mapping[str, Any]]:
        position, self._position = self._position, self._position + len(text)
        part = {"draft": self.id, "role": self.role, "author": self._author, "text": text, "position": position}
        return "message.delta", part

    async def _publish(self, events: list[tuple[str, Mapping[str, Any]]], *, is_end: bool = False) -> bool:
        """False if the author may not write any more; the end is published nevertheless.

        A process that does not listen hears itself alone.
        """
        payloads = [to_json([self.conversation_id, *event]).decode() for event in events]
        try:
            is_allowed = await self._send(payloads, is_end=is_end)
        except Exception as error:  # noqa: BLE001 the message itself is not lost
            log.warning("draft not sent", draft=self.id, error=type(error).__name__)
            return True
        if is_allowed and not self._hub.is_listening:
            for payload in payloads:
                receive_draft(self._hub, payload, is_ordered=False)
        return is_allowed

    async def _send(self, payloads: list[str], *, is_end: bool) -> bool:
        async with self._database.direct() as connection:
            if is_end:
                await repository.send(connection, payloads=payloads)
                return True
            return await repository.send_of_writer(
                connection, payloads=payloads, conversation_id=self.conversation_id, user_id=self._author_id
            )


def receive_draft(hub: Hub, payload: str, *, is_ordered: bool) -> None:
    conversation_id, event_type, data = from_json(payload)
    if hub.is_followed(conversation_id):
        hub.note_draft(conversation_id, LiveEvent(0, encode_event(event_type, data)), is_ordered=is_ordered)
