"""All parameters and body fields of a service, from its OpenAPI document, each to be sent with any value."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import httpx

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
Schema = dict[str, Any]
# kpi_shared.text.WITHOUT_NUL
_ANY_TEXT = r"^[^\x00]*$"

# The same number in spellings that only some programs read as a number.
WRONG_IN_TEXT = (
    *("02", "+2", "2.0", "0_2", "1_0", " 2", "2 ", "-0", "2e0", "0x2", "\u0662", "\uff12", ""),
    # The usual spelling of numbers that no field takes.
    *("-1", "9" * 20, "9" * 5000),
)
WRONG_IN_JSON = (1.0, 2.0, "1", "2", "02", True, False, [1], {"a": 1})
_INVISIBLE = ["\u200b", "ㅤ", "⠀", "\ufeff", "\xad", "\u2060", "\u180e", "͏", "ᅟ", "️", "\U000e0001", "\u200e"]
_BREAKING = [
    "\n",
    "\r",
    "\x0b",
    "\x0c",
    "\t",
    "\x00",
    "\x1b",
    "\x7f",
    "\x85",
    "\x9f",
    "\u2028",
    "\u2029",
    "\u202a",
    "\u202d",
    "\u202e",
    "\u2066",
    "\u2068",
    "\u2069",
]
# No text of a single line, each for one reason.
NOT_ONE_LINE = ("", " ", *_INVISIBLE, "".join(_INVISIBLE), *(f"anna{character}ben" for character in _BREAKING))


@dataclass(frozen=True)
class RequestField:
    """One parameter or field; ``place`` is where it is, and ``media_type`` that of the body."""

    operation: str
    place: Literal["path", "query", "body"]
    name: str
    schemas: tuple[Schema, ...]
    media_type: str = JSON

    def __str__(self) -> str:
        return f"{self.operation} {self.place} {self.name}"

    @property
    def has_several_lines(self) -> bool:
        """Whether it is documented as any text, without the pattern of a single line."""
        return any(schema.get("pattern") == _ANY_TEXT for schema in self.schemas)

    @property
    def is_integer(self) -> bool:
        return any(schema.get("type") == "integer" or _is_integer_enum(schema) for schema in self.schemas)

    @property
    def has_negative_numbers(self) -> bool:
        return any(schema.get("minimum", 0) < 0 for schema in self.schemas)

    async def send(self, client: httpx.AsyncClient, value: object, headers: dict[str, str]) -> httpx.Response:
        """Call the operation with this value of the field, and without all that it does not need in its path."""
        method, _, template = self.operation.partition(" ")
        if self.place == "path":
            template = template.replace("{" + self.name + "}", quote(str(value), safe="+"))
        path = template
        while "{" in path:
            path = path[: path.index("{")] + "1" + path[path.index("}") + 1 :]
        options: dict[str, Any] = {}
        if self.place == "query":
            options["params"] = {self.name: value}
        elif self.place == "body":
            options["data" if self.media_type == FORM else "json"] = {self.name: value}
        return await client.request(method, path, headers=headers, **options)

    def is_refused(self, response: httpx.Response) -> bool:
        """Whether the response is a 422 because of this field."""
        if response.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
            return False
        pointer = f"#/{self.place}/{self.name}"
        return any(f"{error['pointer']}/".startswith(f"{pointer}/") for error in response.json().get("errors") or [])


def fields(document: dict[str, Any]) -> list[RequestField]:
    return [
        field
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict)
        for field in _of_operation(document, f"{method.upper()} {path}", operation)
    ]


def text_fields(document: dict[str, Any]) -> list[RequestField]:
    """The fields of bodies that are any text: no enum, no boolean, no number."""
    return [
        field
        for field in fields(document)
        if field.place == "body"
        and any(schema.get("type") == "string" and not {"enum", "const"} & schema.keys() for schema in field.schemas)
    ]


async def find_accepted_spellings(
    client: httpx.AsyncClient, field: RequestField, headers: dict[str, str]
) -> list[object]:
    """The wrong spellings of a number that the field does not refuse."""
    wrong: tuple[object, ...] = WRONG_IN_TEXT if field.place != "body" or field.media_type == FORM else WRONG_IN_JSON
    # An empty value in a path is another path.
    values = [value for value in wrong if value or field.place != "path"]
    if "-1" in values and field.has_negative_numbers:
        values.remove("-1")
    return [value for value in values if not field.is_refused(await field.send(client, value, headers))]


async def find_accepted_lines(client: httpx.AsyncClient, field: RequestField, headers: dict[str, str]) -> list[str]:
    """The texts that are not one visible line and that the field does not refuse."""
    return [text for text in NOT_ONE_LINE if not field.is_refused(await field.send(client, text, headers))]


def _of_operation(document: dict[str, Any], name: str, operation: dict[str, Any]) -> Iterator[RequestField]:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] in {"path", "query"}:
            schemas = tuple(_alternatives(document, parameter["schema"]))
            yield RequestField(name, parameter["in"], parameter["name"], schemas)
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        for body in _alternatives(document, content["schema"]):
            for key, schema in body.get("properties", {}).items():
                yield RequestField(name, "body", key, tuple(_alternatives(document, schema)), media_type)


def _alternatives(document: dict[str, Any], schema: Schema) -> Iterator[Schema]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    inner = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    if not inner:
        yield schema
    for each in inner:
        yield from _alternatives(document, each)


def _is_integer_enum(schema: Schema) -> bool:
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return bool(values) and all(type(value) is int for value in values)
