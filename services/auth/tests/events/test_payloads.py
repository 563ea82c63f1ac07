"""The payloads are a contract: a changed one has a new version, and docs/events.md shows each type as it is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kpi_auth.events.models import EventType, PlacedEvent
from kpi_auth.events.payloads import SCHEMAS
from kpi_auth.events.streams import describe

STORED = Path(__file__).with_name("schemas.json")
PAGE = Path(__file__).parents[4] / "docs" / "events.md"
_SECTION = re.compile(r"`([\w.]+)`\n")


def current(event_type: EventType) -> tuple[str, dict[str, Any]]:
    """The name of the type with its version, and its schema as far as readers see it."""
    schema = SCHEMAS[event_type]
    found = schema.model.model_json_schema(mode="serialization")
    return f"{event_type}@{schema.version}", _without_words(found)


def _without_words(schema: Any) -> Any:
    """Titles and descriptions change nothing for readers."""
    if isinstance(schema, dict):
        return {name: _without_words(value) for name, value in schema.items() if name not in {"title", "description"}}
    return [_without_words(value) for value in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("event_type", EventType)
def test_a_changed_payload_has_a_new_version(event_type: EventType) -> None:
    """For a new version, add its schema to the file and leave the others: events of before are still stored."""
    name, schema = current(event_type)
    assert json.loads(STORED.read_text())[name] == schema


def test_every_version_is_stored() -> None:
    expected = {f"{kind}@{version}" for kind, schema in SCHEMAS.items() for version in range(1, schema.version + 1)}
    assert json.loads(STORED.read_text()).keys() == expected


def test_every_type_has_a_payload() -> None:
    assert SCHEMAS.keys() == set(EventType)


def find_examples() -> Iterator[tuple[str, Any]]:
    """The types that have a section of the page, with the JSON in it."""
    for section in PAGE.read_text("utf-8").split("\n### ")[1:]:
        if found := _SECTION.match(section):
            yield found[1], json.loads(section.split("```")[1].removeprefix("json"))


def test_the_page_shows_every_type_as_the_feed_does() -> None:
    shown = dict(find_examples())
    assert shown.keys() == {str(event_type) for event_type in EventType}
    for name, line in shown.items():
        schema = SCHEMAS[EventType(name)]
        assert schema.model.model_validate(line["data"]).model_dump(mode="json") == line["data"]
        members = {member: value for member, value in line.items() if member != "seconds"}
        assert (members["type"], members["schema_version"]) == (name, schema.version)
        event = PlacedEvent(**{**members, "type": EventType(name)}, age=0.0)
        assert describe(event, lifetime=1030.0) == line
