"""Watches that each request writes the events of what it changes, and no others."""

from typing import Any, NamedTuple

import httpx
from kpi_auth.accounts.fragments import STATE
from kpi_auth.events.models import EventType
from kpi_auth.events.payloads import SCHEMAS
from kpi_shared.database import Database
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_read = text(f"""
    SELECT (SELECT coalesce(max(id), 0) FROM events) AS last_event,
        (SELECT jsonb_object_agg(id, {STATE}) FROM users) AS users,
        (SELECT jsonb_object_agg(id, coalesce(end_reason, 'none')) FROM sessions) AS sessions,
        (SELECT jsonb_object_agg(id, is_active AND coalesce(expires_at > now(), true)) FROM api_keys) AS api_keys
""")  # noqa: S608 our own text
_read_events = text("""
    SELECT type, schema_version, account_id, data FROM events WHERE id > :after ORDER BY id
""")
_NOT_ENDED = {"none", "expired"}


class State(NamedTuple):
    """What events are about, as the tables have it: by id, accounts, ways in which sessions ended, usable keys."""

    last_event: int
    users: dict[str, dict[str, Any]]
    sessions: dict[str, str]
    api_keys: dict[str, bool]


class Watcher:
    """Compares the tables before and after requests with the events in between."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def watch(self, client: httpx.AsyncClient) -> None:
        client.event_hooks = {"request": [self._before], "response": [self._after]}

    async def _before(self, request: httpx.Request) -> None:
        async with self._database.reading() as connection:
            request.extensions["state"] = await read_state(connection)

    async def _after(self, response: httpx.Response) -> None:
        async with self._database.reading() as connection:
            await check_events(connection, response.request.extensions["state"])


async def read_state(connection: AsyncConnection) -> State:
    row = (await connection.execute(_read)).one()
    return State(row.last_event, row.users or {}, row.sessions or {}, row.api_keys or {})


async def check_events(connection: AsyncConnection, before: State) -> list[str]:
    """Check the events since ``before``, and return their types."""
    after = await read_state(connection)
    events = (await connection.execute(_read_events, {"after": before.last_event})).all()
    for event in events:
        schema = SCHEMAS[EventType(event.type)]
        assert event.schema_version == schema.version
        assert schema.model.model_validate(event.data).model_dump(mode="json") == event.data
    changed = {key: state for key, state in after.users.items() if before.users.get(key) != state}
    folded = {str(event.account_id): event.data for event in events if event.type.startswith("account.")}
    assert folded == changed
    ended = [event.data.get("session_ids", [event.data.get("session_id")]) for event in events if _is_end(event.type)]
    assert {str(session_id) for ids in ended for session_id in ids} == {
        key
        for key, reason in after.sessions.items()
        if before.sessions.get(key, "none") == "none" and reason not in _NOT_ENDED
    }
    _check_keys(before.api_keys, after.api_keys, events)
    return [event.type for event in events]


def _is_end(event_type: str) -> bool:
    return event_type in {EventType.SESSION_ENDED, EventType.SESSIONS_ENDED}


def _check_keys(before: dict[str, bool], after: dict[str, bool], events: Any) -> None:
    ended = {str(event.data["api_key_id"]) for event in events if event.type == EventType.API_KEY_ENDED}
    assert {key for key, is_usable in before.items() if is_usable and not after.get(key)} <= ended
    narrowed = {str(event.data["api_key_id"]) for event in events if event.data.get("reason") == "narrowed"}
    assert {key for key in ended if after.get(key)} == narrowed
    activated = {str(event.data["api_key_id"]) for event in events if event.type == EventType.API_KEY_ACTIVATED}
    usable = {key for key, is_usable in after.items() if is_usable}
    assert activated == {key for key in usable if not before.get(key, True)} | narrowed
