"""The types of settings in words, with their bounds: ``integer, >= 1, <= 100``."""

from collections.abc import Mapping
from typing import Any

from pydantic_settings import BaseSettings, NoDecode

from kpi_shared.setting_reports.texts import write

_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<", "maxLength": "length <="}
_NAMES = {"boolean": "true or false", "string": "text", "object": "JSON object"}
_SECRET = "password"  # noqa: S105 the name of a format


class Kinds:
    """The kinds of all settings of a class."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        schema = settings.model_json_schema()
        self._properties: dict[str, Any] = schema["properties"]
        self._definitions: dict[str, Any] = schema.get("$defs", {})
        self._plain = {name for name, field in settings.model_fields.items() if NoDecode in field.metadata}

    def is_secret(self, name: str) -> bool:
        """Whether all of its value is secret."""
        return _is_secret(self._resolve(self._properties[name]))

    def contains_secret(self, name: str) -> bool:
        """Whether a part of its value may be secret."""
        return self._contains_secret(self._properties[name])

    def describe(self, name: str) -> str:
        schema = self._resolve(self._properties[name])
        if schema.get("type") == "array":
            return self._describe_list(name, self._resolve(schema.get("items", {})))
        return _describe(schema)

    def _describe_list(self, name: str, items: Mapping[str, Any]) -> str:
        if name in self._plain and items.get("type") == "string":
            return f"{'secrets' if _is_secret(items) else 'list'}, separated by commas"
        return "JSON list"

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema itself, without references and the alternative of null."""
        while True:
            choices = [it for it in schema.get("anyOf", schema.get("allOf", ())) if it != {"type": "null"}]
            if "$ref" in schema:
                schema = self._definitions[schema["$ref"].rpartition("/")[2]]
            elif len(choices) == 1:
                schema = choices[0]
            else:
                return schema

    def _contains_secret(self, node: object) -> bool:
        if isinstance(node, list):
            return any(self._contains_secret(item) for item in node)
        if not isinstance(node, dict):
            return False
        if "$ref" in node:
            return self._contains_secret(self._definitions[node["$ref"].rpartition("/")[2]])
        return _is_secret(node) or any(self._contains_secret(value) for value in node.values())


def _is_secret(schema: Mapping[str, Any]) -> bool:
    items = schema.get("items")
    return schema.get("format") == _SECRET or (isinstance(items, dict) and _is_secret(items))


def _describe(schema: Mapping[str, Any]) -> str:
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if choices:
        return " | ".join(map(str, choices))
    if _is_secret(schema):
        return "secret"
    if schema.get("format") == "path":
        return "path"
    name = str(schema.get("type", "text"))
    bounds = [f"{sign} {write(float(schema[bound]))}" for bound, sign in _BOUNDS.items() if bound in schema]
    return ", ".join([_NAMES.get(name, name), *bounds])
