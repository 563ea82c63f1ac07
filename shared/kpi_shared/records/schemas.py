"""What the bodies and the query parameters of most nouns have in common."""

from typing import Annotated, Any, Generic, Self, TypeVar

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, StringConstraints, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from kpi_shared.database import MAX_ID
from kpi_shared.integers import Decimal
from kpi_shared.records.filters import CURSOR_PATTERN

MAX_SKIP = 10_000
MAX_SEARCH = 100

# The id of a row in a path.
RowId = Annotated[Decimal, Path(ge=1, le=MAX_ID)]
# Bytes in a URL that are not UTF-8 become the replacement character.
SearchWords = Annotated[
    str,
    StringConstraints(max_length=MAX_SEARCH, pattern=r"^[^\x00\uFFFD]*$"),
    Field(description="Words, or their beginnings; capitals make no difference"),
]

RowT = TypeVar("RowT")


class ListQuery(BaseModel):
    """The query parameters of every list."""

    limit: Annotated[Decimal, Field(ge=1, le=100, description="The maximum number of items on a page")] = 10
    skip: Annotated[
        Decimal, Field(ge=0, le=MAX_SKIP, description="The number of items to skip (cannot be combined with cursor)")
    ] = 0
    cursor: Annotated[
        str | None,
        StringConstraints(pattern=CURSOR_PATTERN),
        Field(description="The value of next on the previous page"),
    ] = None
    total: Annotated[bool, Field(description="Also count all items of the list, up to 10,000")] = False


class RowPage(BaseModel, Generic[RowT]):
    """A page of a list, and the cursor of the next page, or null on the last page."""

    items: list[RowT]
    next: str | None


class CountedRowPage(RowPage[RowT], Generic[RowT]):
    """A page with the number of all items of the list, which is exact up to 10,000."""

    total: Annotated[int, Field(description="The number of all items of the list; 10,000 if there are more")]
    total_is_exact: Annotated[bool, Field(description="False if the list has more items than total says")]


def may_be_left_out() -> Any:  # noqa: ANN401 pydantic's own result
    """The default of a field of ``Changes``: it is never read, and the API document does not show it."""
    return Field(default_factory=lambda: None)


class Changes(BaseModel):
    """The base of bodies with some fields of a row. The fields that are left out stay unchanged."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _require_change(self) -> Self:
        if not self.model_fields_set:
            *others, last = type(self).model_fields
            names = f"At least one of {', '.join(others)} and {last}" if others else last
            raise PydanticCustomError("empty", f"{names} is required")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler(schema)
        handler.resolve_ref_schema(described)["minProperties"] = 1
        return described

    @property
    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)
