"""What metadata costs that is refused: it takes a process from all others."""

from typing import Any, NoReturn

import pytest
from kpi_content.messages.metadata import Metadata
from kpi_shared.fields.documents import MAX_BYTES
from pydantic import TypeAdapter, ValidationError

metadata_type: TypeAdapter[dict[str, Any]] = TypeAdapter(Metadata)


class UnreadList(list[object]):
    def __iter__(self) -> NoReturn:
        raise AssertionError("read")


class UnreadDict(dict[str, object]):
    def __iter__(self) -> NoReturn:
        raise AssertionError("read")

    keys = values = items = __iter__


TOO_MANY: list[dict[str, object]] = [
    {"a": UnreadList([[]] * (MAX_BYTES // 2))},
    {"a": UnreadDict({str(at): at for at in range(MAX_BYTES)})},
    UnreadDict({str(at): at for at in range(MAX_BYTES)}),
    {"a": [UnreadList([1] * 100)] * (MAX_BYTES // 100)},
]


@pytest.mark.parametrize("metadata", TOO_MANY)
def test_metadata_of_too_many_values_is_refused_unread(metadata: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refused:
        metadata_type.validate_python(metadata)
    assert [error["type"] for error in refused.value.errors(include_input=False)] == ["too_large"]


def test_metadata_of_as_many_values_as_its_size_allows_is_valid() -> None:
    metadata = {"a": [1] * ((MAX_BYTES - len('{"a":[]}')) // 2)}
    assert metadata_type.validate_python(metadata) == metadata
