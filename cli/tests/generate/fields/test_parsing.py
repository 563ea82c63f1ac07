"""What the command line says of fields and names: all that it may say, and each refusal in one sentence."""

import ast
import keyword
from decimal import Decimal
from inspect import getmembers

import pytest
from field_support import NAMES, load, source_of
from hypothesis import given, settings
from hypothesis import strategies as st
from kpi_cli.errors import FailureError
from kpi_cli.generate.fields.catalogue import code_of
from kpi_cli.generate.fields.kinds import ELSEWHERE, KINDS
from kpi_cli.generate.fields.names import parse_names
from kpi_cli.generate.fields.parsing import parse_field, parse_fields
from kpi_cli.generate.fields.words import CLASS_ATTRIBUTES, SQL_RESERVED, TAKEN_BY_RESOURCES, rename, why_no_field
from kpi_cli.generate.specs import FieldSpec, ForeignKey, Kind
from kpi_shared.records.schemas import Changes, ListQuery
from kpi_shared.testing.postgres import create_database
from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlmodel import SQLModel


def test_rules_become_a_spec() -> None:
    assert parse_field("title:string:required,max:200") == FieldSpec(
        name="title", kind=Kind.STRING, required=True, max=200
    )
    assert parse_field("price:money:gte:0.5,lt:10,default:1") == FieldSpec(
        name="price", kind=Kind.MONEY, ge=Decimal("0.5"), lt=Decimal(10), default="1"
    )
    assert parse_field("stock:integer:min:1,max:9,required") == FieldSpec(
        name="stock", kind=Kind.INTEGER, required=True, ge=Decimal(1), le=Decimal(9)
    )
    assert parse_field("post_id:bigint:required,foreign:posts.id").foreign == ForeignKey(table="posts", column="id")
    assert parse_field("status:enum(draft|open):default:open").choices == ("draft", "open")
    assert parse_field("photo:image:max:500KB").max == 500_000


def test_a_field_without_a_rule_that_says_otherwise_is_nullable() -> None:
    assert parse_field("note:text").nullable
    assert parse_field("sku:slug:unique").nullable
    assert not parse_field("note:text:required").nullable
    assert not parse_field("note:text:default:x").nullable


@pytest.mark.parametrize("bounds", ["gt:0,lt:0.0005", "ge:0,lt:0.0005", "gt:0.5,le:0.5001", "gt:99999,lt:100000"])
def test_floats_have_steps_of_any_size(bounds: str) -> None:
    code = code_of(parse_field(f"ratio:float:{bounds}"), NAMES)
    values = [code.example, code.other_example, *(eval(code.sample, {"number": n}) for n in range(200))]  # noqa: S307 the code is what is tested
    for value in values:
        load(source_of([code])).ProductCreate(ratio=value)


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("a:string:default:x y", "x y"),
        ("a:string:default:x:y", "x:y"),
        ('a:string:default:"x, y: ""z"""', 'x, y: "z"'),
        ("a:string:default:'it''s, so',max:20", "it's, so"),
        ("a:string:default:it's", "it's"),
        ("a:time:default:12:30:00", "12:30:00"),
        ("a:json:default:'{\"b\": [1, 2]}'", '{"b": [1, 2]}'),
    ],
)
def test_defaults_may_contain_what_separates_rules(text: str, default: str) -> None:
    assert parse_field(text).default == default


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title", "its kind is missing"),
        ("title:", "its kind is missing"),
        ("Title:string", "'Title' is no name of a field"),
        ("ti-tle:string", "'ti-tle' is no name of a field"),
        ("t" * 25 + ":string", "its name is too long"),
        ("title:strng", "did you mean string?"),
        ("title:string:requird", "did you mean required?"),
        ("title:string:", "a rule is expected"),
        ("title:string:required,", "a rule is expected"),
        ("title:string:required,,max:3", "a rule is expected"),
        ("title:string:required:yes", "the rule required takes no value"),
        ("title:string:max", "the rule max needs a value"),
        ("title:string:max:", "max must be a number"),
        ("title:string:max:1e3", "max must be a number"),
        ("title:string:max:10001", "max must be at most 10,000"),
        ("title:string:max:0", "max must be at least 1"),
        ("title:string:min:0", "min must be at least 1"),
        ("title:string:min:300", "min 300 is greater than max 255"),
        ("title:string:required,nullable", "required and nullable contradict"),
        ("title:string:required,required", "stands twice"),
        ("title:string:required,default:x", "required and default contradict"),
        ("title:string:unique,default:x", "unique and default contradict"),
        ("title:string:unique,index", "unique and index say the same"),
        ("title:string:unique,max:651", "needs a max of at most 650"),
        ("title:string:ge:1", "string has no rule ge"),
        ("body:text:unique", "text has no rule unique"),
        ("data:json:unique", "json has no rule unique"),
        ("data:json:default:null", "its default must be JSON"),
        ("data:json:default:NaN", "its default must be JSON"),
        ("active:boolean:unique", "boolean has no rule unique"),
        ("active:boolean:max:1", "boolean has no rule max"),
        ("active:boolean:default:yes", "its default must be true or false, not 'yes'"),
        ("photo:image:unique", "image has no rule unique"),
        ("photo:image:required", "image has no rule required"),
        ("photo:image:max:2GiB", "max must be at most"),
        ("stock:integer:min:5,max:4", "no number is within its bounds"),
        ("stock:integer:gt:1,lt:2", "no number is within its bounds"),
        ("stock:integer:ge:1,gt:0", "ge and gt are two lower bounds"),
        ("score:integer:unique,ge:1,le:19", "unique needs at least 20 possible values, and the bounds allow 19"),
        ("fee:percent:unique,ge:5,lt:5.1", "unique needs at least 20 possible values, and the bounds allow 10"),
        ("stock:integer:le:1,lt:2", "le and lt are two upper bounds"),
        ("stock:integer:min:1,ge:2", "stands twice, or with another that says the same"),
        ("stock:integer:ge:0.5", "ge must be an integer"),
        ("stock:integer:ge:2147483648", "ge must be between"),
        ("stock:integer:default:1.5", "its default must be an integer"),
        ("stock:integer:ge:0,default:-1", "its default must be a number within the field's bounds"),
        ("price:money:ge:0.001", "ge must be a number of at most 2 decimal places"),
        ("share:percent:max:101", "max must be between 0 and 100, not 101"),
        ("share:percent:gte:-1", "gte must be between 0 and 100, not -1"),
        ("views:bigint:ge:99999999999999999999", "ge must be between -9223372036854775808 and 9223372036854775807"),
        ("views:bigint:min:0.5", "min must be an integer"),
        ("rating:float:ge:99999999999999999999", "at most 19 digits before its point"),
        ("rating:float:gt:0.1,lt:0.1", "no number is within its bounds"),
        ("rating:float:ge:0.1,lt:0.1", "no number is within its bounds"),
        ("options:json:default:[1,2]", "'2]' is no rule; it stands after a comma behind the default"),
        ("options:json:default:[1,2]", "put a default with commas in quotes"),
        ("rating:float:default:inf", "its default must be a number"),
        ("status:enum", "an enum needs values"),
        ("status:enum()", "an enum needs values"),
        ("status:enum(a|)", "the values of an enum"),
        ("status:enum(a b)", "the values of an enum"),
        ("status:enum(a'|b)", "the values of an enum"),
        ("status:enum(a|A)", "the values a and A would both have the name A"),
        ("size:enum(2xl|size-2xl)", "the values 2xl and size-2xl would both have the name SIZE_2XL"),
        ("status:enum(a|b):default:c", "its default must be one of a, b"),
        ("title:string(a)", "only an enum has choices"),
        ("post_id:bigint:foreign:posts", "is no column of a table"),
        ("post_id:bigint:foreign:posts.id,max:4", "foreign and bounds contradict"),
        ("post_id:bigint:foreign:posts.id,default:4", "foreign and default contradict"),
        ("post_id:datetime:foreign:posts.id", "datetime has no rule foreign"),
        ("at:datetime:default:now", "its default must be a time"),
        ("at:datetime:default:2026-03-31T10:00:00", "its default must be a time"),
        ("on:date:default:2026-02-30", "its default must be a date that exists, such as 2026-03-31, not '2026-02-30'"),
        ("at:time:default:25:00", "its default must be a time from 00:00 to 23:59:59"),
        ("home:url:default:https://example.com:70000", "its default must be an address such as"),
        ("host:ip:default:192.0.2.256", "its default must be an address such as"),
        ("owner:string", "a field cannot have this name"),
        ("owner:owner:required", "the owner has no other name and no rules"),
        ("author:owner", "the owner has no other name and no rules"),
        ("id:bigint", "a field cannot have this name"),
        ("limit:integer", "it is a query parameter of each list"),
        ("new:integer", "it is the value of sort"),
        ("class:string", "it is a keyword of Python"),
        ("metadata:json", "pydantic's classes have an attribute of this name"),
        ("model_name:string", "pydantic's classes have an attribute of this name"),
    ],
)
def test_what_contradicts_itself_is_refused_with_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(FailureError) as caught:
        parse_field(text)
    assert reason in f"{caught.value} {caught.value.fix}"
    assert caught.value.code == 2
    assert "\n" not in caught.value.sentence
    assert len(caught.value.sentence) < 200


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        ("int", "integer"),
        ("varchar", "string"),
        ("str", "string"),
        ("bool", "boolean"),
        ("number", "decimal"),
        ("Timestamp", "datetime"),
        ("references", "--belongs-to TABLE"),
        ("strng", "string"),
    ],
)
def test_the_kind_that_is_meant_is_named(kind: str, meant: str) -> None:
    with pytest.raises(FailureError, match=f"; did you mean {meant}\\?$"):
        parse_field(f"x:{kind}")


def test_kinds_that_others_name_are_kinds() -> None:
    assert {*ELSEWHERE.values()} <= {*Kind, "--belongs-to TABLE"}
    assert not {*ELSEWHERE} & {*Kind}


def test_a_name_that_cannot_be_has_another() -> None:
    with pytest.raises(FailureError) as raised:
        parse_field("total:money")
    assert raised.value.fix == "another name, as total_amount"
    names = [*TAKEN_BY_RESOURCES, *CLASS_ATTRIBUTES, *keyword.kwlist, *keyword.softkwlist, "model_config"]
    assert [name for name in names if why_no_field(rename(name))] == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("status:enum(a,b)", "the values of an enum are separated by |, not by commas"),
        ("status:enum()", "an enum needs values, and there are none"),
        ("status:enum", "an enum needs values, and there are none"),
    ],
)
def test_what_is_wrong_with_choices_is_said(text: str, sentence: str) -> None:
    with pytest.raises(FailureError) as raised:
        parse_field(text)
    assert (raised.value.sentence, raised.value.fix) == (sentence, 'write it as -f "status:enum(draft|open|closed)"')


def test_two_fields_of_one_name_are_refused() -> None:
    with pytest.raises(FailureError, match="two fields of this name"):
        parse_fields(["a:string", "b:string", "a:text"])


def test_a_constraint_whose_name_would_be_cut_is_refused() -> None:
    with pytest.raises(FailureError, match="longer than 63 bytes"):
        code_of(parse_field(f"{'x' * 24}:string"), parse_names("A" + "b" * 27))
    assert code_of(parse_field("title:string"), parse_names("A" + "b" * 27)).table_args


def test_no_field_hides_an_attribute_of_the_classes() -> None:
    for base in (SQLModel, BaseModel, Changes, ListQuery):
        attributes = {name for name, _ in getmembers(base) if not name.startswith("_")}
        attributes |= set(base.model_fields)
        assert {name for name in attributes if why_no_field(name) is None} == set()


def test_the_reserved_words_are_those_of_postgresql() -> None:
    engine = create_engine(create_database("kpi_words").replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        found = connection.execute(text("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')"))
        assert set(found.scalars()) == SQL_RESERVED
    engine.dispose()


@pytest.mark.parametrize("text", ["OrderItem", "order_item", "order-item", "Order Item", "OrderItems", "order-items"])
def test_all_spellings_of_a_name_are_one(text: str) -> None:
    names = parse_names(text)
    assert (names.singular, names.plural, names.class_name) == ("order_item", "order_items", "OrderItem")
    assert (names.path, names.slug) == ("order-items", "order-item")


@pytest.mark.parametrize(
    ("text", "singular", "plural"),
    [
        ("Category", "category", "categories"),
        ("addresses", "address", "addresses"),
        ("Status", "status", "statuses"),
        ("People", "person", "people"),
        ("bus", "bus", "buses"),
        ("analysis", "analysis", "analyses"),
        ("HTTPServer", "http_server", "http_servers"),
    ],
)
def test_plurals_are_those_of_english(text: str, singular: str, plural: str) -> None:
    names = parse_names(text)
    assert (names.singular, names.plural) == (singular, plural)


def test_a_plural_may_be_given() -> None:
    assert parse_names("Series", plural="serieses").plural == "serieses"
    with pytest.raises(FailureError, match="is the same word"):
        parse_names("Series")


@pytest.mark.parametrize(
    "text", ["", "1st", "Ünit", "a/b", "class", "Request", "Table", "x" * 31, "../a", "a.b", "Field"]
)
def test_names_that_code_cannot_have_are_refused(text: str) -> None:
    with pytest.raises(FailureError) as caught:
        parse_names(text)
    assert caught.value.code == 2


_RULE = st.one_of(
    st.sampled_from(["required", "nullable", "unique", "index", "foreign:posts.id"]),
    st.builds(
        "{}:{}".format, st.sampled_from(["min", "max", "ge", "gte", "le", "lte", "gt", "lt"]), st.integers(-9, 300)
    ),
    st.builds("default:{}".format, st.text(max_size=20)),
    st.builds("default:'{}'".format, st.text(max_size=20).map(lambda text: text.replace("'", "''"))),
    st.text(max_size=10),
)
_KIND = st.one_of(st.sampled_from(list(Kind)), st.just("enum(a|b-c|2xl)"), st.text(max_size=8))
_FIELD = st.builds(
    lambda name, kind, rules: ":".join([name, kind, *([",".join(rules)] if rules else [])]),
    st.one_of(st.sampled_from(["title", "order", "import", "x_1"]), st.text(max_size=8)),
    _KIND,
    st.lists(_RULE, max_size=3),
)


def _check(field: str) -> bool:
    """Whether it is accepted; then its code must be the statements that the template prints, and nothing else."""
    try:
        [spec] = parse_fields([field])
        if spec.kind is Kind.OWNER:
            return True
        code = code_of(spec, NAMES)
    except FailureError as failure:
        _check_failure(failure)
        return False
    expressions = (code.model_type, code.model_value, code.sent_type, code.shown_type, code.sample)
    for expression in (*expressions, *code.table_args):
        ast.parse(expression, mode="eval")
    if code.default is not None:
        _check_default(code.default)
    ast.parse(source_of([code]))
    return True


def _check_failure(failure: FailureError) -> None:
    assert failure.code == 2
    assert "\n" not in failure.sentence


def _check_default(default: str) -> None:
    """A literal, a member of an enum, or the call of a known type: nothing that a text could smuggle in."""
    for node in ast.walk(ast.parse(default, mode="eval")):
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            known = {"Decimal", "UUID", "IPv4Address", "IPv6Address", "datetime", "date", "time"}
            assert node.func.id in known
        elif isinstance(node, ast.Attribute):
            assert isinstance(node.value, ast.Name)
            assert node.value.id.startswith("Product")


@settings(max_examples=400, deadline=None)
@given(_FIELD)
def test_no_text_makes_broken_code(field: str) -> None:
    _check(field)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([Kind.STRING, Kind.TEXT]), st.text(min_size=1, max_size=40))
def test_any_default_is_stored_as_it_was_written(kind: Kind, default: str) -> None:
    quoted = default.replace("'", "''")
    field = f"title:{kind}:default:'{quoted}'"
    if _check(field):
        code = code_of(parse_field(field), NAMES)
        assert ast.literal_eval(code.default or "") == default


@pytest.mark.parametrize(
    "hostile", ['"); import os; os.abort()#', "'); DROP TABLE posts;--", "\\", "{{ 7 * 7 }}", "%s :x"]
)
def test_hostile_defaults_are_texts(hostile: str) -> None:
    quoted = hostile.replace("'", "''")
    module = load(source_of([code_of(parse_field(f"title:string:default:'{quoted}'"), NAMES)]))
    assert module.ProductCreate().title == hostile


def test_every_kind_has_an_example_that_is_accepted() -> None:
    assert set(KINDS) == set(Kind)
    for kind, info in KINDS.items():
        assert parse_field(info.example.strip('"')).kind is kind
