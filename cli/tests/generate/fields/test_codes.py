"""The code of each kind, run: what pydantic accepts and shows, and what the constraints of PostgreSQL refuse."""

import json
from typing import Any

import pytest
from field_support import MIX, codes_of, load, source_of
from kpi_cli.generate.fields.kinds import KINDS
from kpi_cli.generate.specs import Kind
from pydantic import BaseModel, ValidationError, create_model
from pydantic_core import to_json


@pytest.fixture(scope="module")
def module() -> Any:
    return load(source_of(codes_of(MIX)))


CODES = {code.name: code for code in codes_of(MIX) if not code.is_file}


def _alone(module: Any, name: str) -> type[BaseModel]:
    """The field of the body, without the others."""
    field = module.ProductCreate.model_fields[name]
    return create_model(
        "Alone", **{name: (field.annotation if not field.metadata else field.rebuild_annotation(), field)}
    )


@pytest.mark.parametrize("name", CODES)
def test_edges_are_accepted_and_what_is_beyond_is_refused(module: Any, name: str) -> None:
    code, model = CODES[name], _alone(module, name)
    samples = [eval(code.sample, {"number": number}) for number in (0, 1, 77)]  # noqa: S307 the code is what is tested
    for value in (code.example, code.other_example, *code.accepted, *samples):
        shown = json.loads(to_json(model.model_validate_json(to_json({name: value}))))[name]
        assert shown == value, f"{value!r} is shown as {shown!r}"
    for sent, expected in code.shown_as:
        assert json.loads(to_json(model.model_validate_json(to_json({name: sent}))))[name] == expected
    for value in code.refused:
        assert not _is_accepted(model, json.dumps({name: value})), f"{value!r} is accepted"


def _is_accepted(model: type[BaseModel], body: str) -> bool:
    try:
        model.model_validate_json(body)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name, code in CODES.items() if code.default is not None])
def test_a_default_is_what_would_be_stored_if_it_were_sent(module: Any, name: str) -> None:
    model = _alone(module, name)
    default = model.model_validate({}).model_dump()[name]
    if default is not None:
        sent = model.model_validate_json(to_json({name: default}))
        assert sent.model_dump()[name] == default
    else:
        assert CODES[name].is_nullable


# The fields of MIX with fewer values, and how many they have.
_FEW = {
    "initial": 10,
    "active": 2,
    "is_new": 2,
    "maybe": 2,
    "status": 3,
    "size": 3,
    "level": 1,
    "rank": 3,
    "fee": 3,
    "rating": 9,
    "ratio": 127,
}


@pytest.mark.parametrize("name", CODES)
def test_samples_differ_where_the_field_has_so_many_values(name: str) -> None:
    samples = {json.dumps(eval(CODES[name].sample, {"number": n})) for n in range(1000)}  # noqa: S307 as above
    assert len(samples) == _FEW.get(name, 1000)


def test_bounds_are_in_the_api_document(module: Any) -> None:
    properties = module.ProductCreate.model_json_schema()["properties"]
    assert properties["title"]["maxLength"] == 200
    assert properties["title"]["minLength"] == 1
    assert properties["stock"] | {"title": ""} == {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**31 - 1,
        "default": 0,
        "title": "",
    }
    assert properties["rank"]["exclusiveMinimum"] == -5
    assert properties["rank"]["exclusiveMaximum"] == -1
    assert properties["views"]["minimum"] == -(2**63)
    text, number = properties["price"]["anyOf"]
    assert number == {"type": "number", "minimum": 0}
    assert text == {"type": "string", "pattern": "^(0|[1-9][0-9]{0,9})([.][0-9]{1,2})?$"}
    assert properties["rating"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 5}
    assert properties["sku"]["pattern"] == "^[a-z0-9]+(-[a-z0-9]+)*$"
    assert properties["sku"]["maxLength"] == 100
    assert properties["contact"]["format"] == "email"
    assert properties["website"]["format"] == "uri"
    assert properties["starts_at"]["format"] == "date-time"
    definitions = module.ProductCreate.model_json_schema()["$defs"]
    assert definitions["ProductStatus"]["enum"] == ["draft", "open", "closed"]


def test_public_fields_show_decimals_as_texts(module: Any) -> None:
    properties = module.ProductPublic.model_json_schema(mode="serialization")["properties"]
    assert properties["price"]["type"] == "string"
    assert properties["opens_at"]["anyOf"][0]["type"] == "string"


@pytest.mark.parametrize("kind", [kind for kind, info in KINDS.items() if "index" in info.rules])
def test_each_index_has_a_request_that_uses_it(kind: Kind) -> None:
    choices = "(a|b)" if kind is Kind.ENUM else ""
    [code] = codes_of([f"value:{kind}{choices}:index"])
    assert code.filter is not None
    assert code.filter_type is not None
