"""``kpi api-key`` and ``kpi bootstrap``: API keys and the first admin, through the auth service's own commands."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from kpi_cli.layout import Layout
from kpi_cli.operations import auth_commands, tables
from kpi_cli.operations.durations import parse_duration
from kpi_cli.stack import local_database

_COLUMNS = ("id", "owner_id", "name", "prefix", "scopes", "state", "expires_at", "last_used_at", "uses")


class State(StrEnum):
    """Whether a key can be used."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    EXPIRED = "expired"


def create(layout: Layout, request: Mapping[str, Any], *, expires_in: str | None, as_json: bool) -> None:
    """Make a key for an account and print it once."""
    sent = {name: value for name, value in request.items() if value is not None}
    if expires_in is not None:
        sent["expires_at"] = (datetime.now(UTC) + timedelta(seconds=parse_duration("api-key", expires_in))).isoformat()
    made = _run(layout, "create-api-key", sent)
    _print_new(made, f"made the API key {made['id']} ({made['name']})", as_json=as_json)


def rotate(layout: Layout, *, key_id: int, grace: str, as_json: bool) -> None:
    """Replace a key by a new one and print that once."""
    request = {"id": key_id, "grace_seconds": parse_duration("api-key", grace)}
    made = _run(layout, "rotate-api-key", request)
    sentence = f"the API key {made['id']} replaces {key_id}, which works until {made['replaced_expires_at']}"
    _print_new(made, sentence, as_json=as_json)


def revoke(layout: Layout, *, key_id: int, as_json: bool) -> None:
    """Delete a key."""
    result = _run(layout, "revoke-api-key", {"id": key_id})
    print(json.dumps(result) if as_json else f"kpi: the API key {key_id} is deleted; within 5 seconds it is refused")


def print_list(layout: Layout, *, username: str | None, state: State | None, limit: int, as_json: bool) -> None:
    """Print keys as JSON, as a table at a terminal, and otherwise as lines with tabs."""
    request = {"username": username, "state": state.value if state else None, "limit": limit}
    found = _run(layout, "list-api-keys", request)
    if as_json:
        print(json.dumps(found))
        return
    items = found["items"]
    tables.print_rows(_COLUMNS, [{**item, "scopes": " ".join(item["scopes"])} for item in items])
    if found["more"]:
        local_database.report(f"only the newest {len(items)} are shown: raise --limit")


def bootstrap(layout: Layout, *, username: str, email: str | None, as_json: bool) -> None:
    """Make the first admin and a key with all rights, and print both once."""
    made = _run(layout, "bootstrap", {"username": username, "email": email})
    if as_json:
        print(json.dumps(made))
        return
    user, key = made["user"], made["api_key"]
    print(f"kpi: made the admin {user['username']} with id {user['id']}, and the API key {key['id']} with all rights")
    print(f"password: {user['password']}")
    print(f"key: {key['key']}")
    local_database.report("keep both: they are shown only once and cannot be retrieved later")


def _run(layout: Layout, command: str, request: Mapping[str, object]) -> dict[str, Any]:
    with auth_commands.environment(layout) as environment:
        return auth_commands.run(environment, command, request)


def _print_new(made: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(made))
        return
    print(f"kpi: {sentence}")
    print(f"key: {made['key']}")
    local_database.report("keep the key: it is shown only once and cannot be retrieved later")
