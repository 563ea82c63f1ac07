"""Bodies with some fields of a row."""

from typing import Annotated

import pytest
from kpi_shared.records.schemas import Changes, may_be_left_out
from pydantic import ConfigDict, StringConstraints, ValidationError


class ToolUpdate(Changes):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "saw"}]})

    name: Annotated[str, StringConstraints(min_length=1)] = may_be_left_out()
    code: str | None = may_be_left_out()


class LabelUpdate(Changes):
    text: str = may_be_left_out()


def test_changes_are_the_fields_that_were_sent() -> None:
    assert ToolUpdate.model_validate({"name": "saw"}).changes == {"name": "saw"}
    assert ToolUpdate.model_validate({"code": None}).changes == {"code": None}


@pytest.mark.parametrize("body", [{"name": None}, {"name": ""}, {"name": "saw", "price": 1}])
def test_what_is_sent_must_be_valid(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ToolUpdate.model_validate(body)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [(ToolUpdate, "At least one of name and code is required"), (LabelUpdate, "text is required")],
)
def test_nothing_is_no_change(body: type[Changes], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        body.model_validate({})


def test_the_document_says_that_a_field_is_required_but_not_which() -> None:
    schema = ToolUpdate.model_json_schema()
    assert schema["minProperties"] == 1
    assert schema["additionalProperties"] is False
    assert schema["examples"] == [{"name": "saw"}]
    assert "required" not in schema
    assert not any("default" in each for each in schema["properties"].values())
