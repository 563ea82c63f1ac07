"""What the feed says, put into the revocations in memory."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any

from pydantic import ValidationError

from kpi_shared.caller import is_key_session_id, key_session_id
from kpi_shared.feed.errors import FeedError
from kpi_shared.feed.schemas import (
    AccountState,
    ApiKeyChanged,
    FeedEvent,
    FeedRevocation,
    KeyKilled,
    SessionEnded,
    SessionsEnded,
    Snapshot,
    revocations_adapter,
)
from kpi_shared.revocations import Revocations

# The longest life of a token that the settings of auth allow, for an event that does not say.
_LONGEST_LIFE = 24 * 3600.0
# Entries of a snapshot: some milliseconds.
_PORTION = 1000
# The first version of an account has no tokens before it; other changes are none of what a token says.
_HARMLESS = {"account.created", "account.changed"}
_Apply = Callable[[Revocations, dict[str, Any], float], None]


async def apply_snapshot(revocations: Revocations, snapshot: Snapshot) -> None:
    """Add what is in the snapshot. Only API keys can come back: the others end with the last token that they hit.

    In portions, so that requests go on meanwhile; what is in none of them yet is refused after the last one.
    """
    listed_keys = set()
    for start in range(0, len(snapshot.revocations), _PORTION):
        for revocation in _read_portion(snapshot.revocations[start : start + _PORTION]):
            _apply_revocation(revocations, revocation)
            if revocation.kind == "session" and is_key_session_id(str(revocation.id)):
                listed_keys.add(str(revocation.id))
        await asyncio.sleep(0)
    revocations.restore_sessions(key for key in revocations.list_ended_keys() if key not in listed_keys)


def _read_portion(portion: list[Any]) -> list[FeedRevocation]:
    try:
        return revocations_adapter.validate_python(portion)
    except ValidationError:
        raise FeedError("its response is not of the feed") from None


def _apply_revocation(revocations: Revocations, revocation: FeedRevocation) -> None:
    seconds = inf if revocation.seconds is None else revocation.seconds
    match revocation:
        case FeedRevocation(kind="session", id=str(session_id)):
            revocations.end_sessions([session_id], seconds=seconds)
        case FeedRevocation(kind="account", id=int(account_id), version=int(version)):
            revocations.end_versions(account_id, below=version, seconds=seconds)
        case FeedRevocation(kind="kid", id=str(kid)):
            revocations.end_key(kid)
        case FeedRevocation(kind="session" | "account" | "kid"):
            raise FeedError(f"a revocation of the kind {revocation.kind!r} cannot be read")


def apply_event(revocations: Revocations, event: FeedEvent) -> None:
    """FeedError for an event that cannot be read: what it revokes is in the next snapshot, in another form."""
    apply = _end_account if event.is_of_account and event.type not in _HARMLESS else _BY_TYPE.get(event.type)
    if apply is None:
        return
    try:
        apply(revocations, event.data, _LONGEST_LIFE if event.seconds is None else event.seconds)
    except ValidationError:
        raise FeedError(f"an event {event.type[:40]!r} cannot be read") from None


def _end_account(revocations: Revocations, data: dict[str, Any], seconds: float) -> None:
    account = AccountState.model_validate(data)
    revocations.end_versions(account.id, below=account.version, seconds=seconds)


def _end_session(revocations: Revocations, data: dict[str, Any], seconds: float) -> None:
    revocations.end_sessions([str(SessionEnded.model_validate(data).session_id)], seconds=seconds)


def _end_sessions(revocations: Revocations, data: dict[str, Any], seconds: float) -> None:
    revocations.end_sessions(map(str, SessionsEnded.model_validate(data).session_ids), seconds=seconds)


def _end_api_key(revocations: Revocations, data: dict[str, Any], seconds: float) -> None:
    api_key_id = ApiKeyChanged.model_validate(data).api_key_id
    revocations.end_sessions([key_session_id(api_key_id)], seconds=seconds)


def _restore_api_key(revocations: Revocations, data: dict[str, Any], _seconds: float) -> None:
    revocations.restore_sessions([key_session_id(ApiKeyChanged.model_validate(data).api_key_id)])


def _end_key(revocations: Revocations, data: dict[str, Any], _seconds: float) -> None:
    revocations.end_key(KeyKilled.model_validate(data).kid)


_BY_TYPE: dict[str, _Apply] = {
    "session.ended": _end_session,
    "sessions.ended": _end_sessions,
    "api_key.ended": _end_api_key,
    "api_key.activated": _restore_api_key,
    "key.killed": _end_key,
}
