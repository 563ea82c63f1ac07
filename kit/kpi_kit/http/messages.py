"""A request and a response, as drivers get and give them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from kpi_kit.http.invalid import HttpValueError

T = TypeVar("T")

# RFC 9110, section 9.2.2: sent twice, they have the effect of one.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_IDEMPOTENCY_KEY = "idempotency-key"


@dataclass(frozen=True)
class Request:
    """``path`` is below the base of the client and percent-encoded; the names of the headers are in lower case.

    Only method and host are shown: each of the others may have a secret in it.
    """

    method: str
    host: str
    path: str = field(repr=False)
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes = field(default=b"", repr=False)

    @property
    def is_repeatable(self) -> bool:
        """Whether a second copy can do no harm. (An Idempotency-Key: draft-ietf-httpapi-idempotency-key-header.)"""
        return self.method in _IDEMPOTENT or _IDEMPOTENCY_KEY in self.headers

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def with_headers(self, headers: Mapping[str, str]) -> "Request":
        """With these too; those that the request has stay."""
        return replace(self, headers={**headers, **self.headers})


@dataclass(frozen=True)
class Response:
    """``headers`` has names in lower case, and several fields of one name joined by commas."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """The body, decoded as UTF-8; what is not is replaced."""
        return self.content.decode("utf-8", "replace")

    def parse(self, model: type[T]) -> T:
        """The body, which is JSON, as this type: a model of pydantic, a dataclass, ``list[...]``; ValidationError."""
        return cast("T", _get_adapter(cast("Hashable", model)).validate_json(self.content))


class Problem(BaseModel):
    """An ``application/problem+json`` body (RFC 9457). Further members are in ``model_extra``."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: str = "about:blank"
    title: str = ""
    status: int | None = None
    detail: str = ""
    instance: str = ""


def read_problem(response: Response) -> Problem | None:
    """None if the body is no problem document, or not a valid one."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/problem+json":
        return None
    try:
        return response.parse(Problem)
    except ValidationError:
        return None


@lru_cache(maxsize=512)
def _get_adapter(model: Hashable) -> TypeAdapter[Any]:
    # It compiles the schema, which takes a hundred times as long as validating a small body.
    return TypeAdapter(cast("Any", model))


def write_json(body: object) -> bytes:
    """A JSON value, a model of pydantic, a dataclass, or a structure of them; HttpValueError for anything else.

    What is no number in JSON is null.
    """
    try:
        return to_json(body, inf_nan_mode="null")
    except PydanticSerializationError as error:
        # Other texts of the library may quote values.
        is_type = str(error).startswith("Unable to serialize")
        reason = str(error) if is_type else "a text has half of a surrogate pair in it, or a serializer failed"
        raise HttpValueError(f"what is to be sent is no JSON: {reason}") from None
