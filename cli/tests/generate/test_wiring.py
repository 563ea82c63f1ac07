"""The places of a resource in the files of this checkout, as texts."""

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.generate import editing, steps
from kpi_cli.generate.changes import Edit, Plan
from kpi_cli.generate.specifying import specify_resource
from kpi_cli.generate.specs import Access, Kind
from kpi_cli.generate.wiring import plan_wired_resource, wire

CHECKOUT = Path(__file__).parents[3]
# A noun that no checkout has.
NAME, FOLDER = "ZebraCrossing", "zebra_crossings"


def wire_texts(name: str = NAME, service: str = "content", **options: Any) -> dict[str, str]:
    """The files that are changed for a resource, after the change."""
    spec = specify_resource(CHECKOUT, name=name, service=service, **options)
    plan = wire(Plan(title="x", changes=()), spec, CHECKOUT)
    assert len(plan.steps) == 2
    assert steps.write_openapi in plan.steps
    texts = {}
    for change in plan.changes:
        assert isinstance(change, Edit)
        before = (CHECKOUT / change.path).read_text()
        texts[change.path] = after = change.change(before)
        assert change.change(after) == after
        # Lines are only added, but for lines that got one more name.
        kept = [line for line in before.splitlines() if line in after.splitlines()]
        assert len(before.splitlines()) - len(kept) <= 1
    return texts


def test_a_resource_gets_its_places() -> None:
    texts = wire_texts(fields=["title:string:required", "owner:owner"], public=True)
    app = texts["services/content/kpi_content/app.py"]
    ast.parse(app)
    assert f"from kpi_content.{FOLDER}.endpoints import router as {FOLDER}\n" in app
    assert '"zebra-crossings": "Zebra crossings: reading, searching, writing"' in app
    assert f", {FOLDER}]," in app
    contracts = texts["services/content/.importlinter"]
    assert f"\n    kpi_content.{FOLDER}\n" in contracts
    layers = editing.read_layers(contracts, "content-nouns")
    [number] = [number for number, layer in enumerate(layers) if FOLDER in layer]
    assert "authors" in layers[number + 1]
    settings = texts["gateway/kpi_gateway/settings.py"]
    ast.parse(settings)
    assert '("search", "total", "skip", "sort")),' in _find_rows(settings)[0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"public": True}, ("write", "public", "write")),
        ({}, ("write", "read", "write")),
        ({"admin": True}, ("admin", "admin", "admin")),
        ({"protected": True, "soft_deletes": True}, ("write", "read", "write", "admin")),
    ],
)
def test_rights_follow_the_access(options: dict[str, Any], expected: tuple[str, ...]) -> None:
    rights = dict(
        line.rsplit(maxsplit=1)
        for line in wire_texts(fields=["title:string:required"], **options)["tests/rights.txt"].splitlines()
        if "zebra" in line and " " in line
    )
    row = "/api/v1/zebra-crossings/{zebra_crossing_id}"
    names = ["POST /api/v1/zebra-crossings", "GET /api/v1/zebra-crossings", f"DELETE {row}", f"POST {row}/restore"]
    assert tuple(rights[name] for name in names if name in rights) == expected
    assert len(rights) == len(expected) + 3


def test_what_belongs_to_a_noun_stands_above_it() -> None:
    contracts = wire_texts(belongs_to=["posts"])["services/content/.importlinter"]
    layers = editing.read_layers(contracts, "content-nouns")
    [own] = [number for number, layer in enumerate(layers) if FOLDER in layer]
    [posts] = [number for number, layer in enumerate(layers) if "posts" in layer]
    assert own < posts
    # Nothing may stand beside what calls all nouns.
    layers = editing.read_layers(
        wire_texts(fields=["vote:bigint:foreign:votes.user_id"])["services/content/.importlinter"], "content-nouns"
    )
    [own] = [number for number, layer in enumerate(layers) if FOLDER in layer]
    assert layers[own] == [FOLDER]
    assert "votes" in layers[own + 1]


def test_a_resource_of_auth_gets_its_places_too() -> None:
    texts = wire_texts(service="auth", fields=["title:string:required"], admin=True)
    app = texts["services/auth/kpi_auth/app.py"]
    ast.parse(app)
    assert '"zebra-crossings": "Zebra crossings: reading, searching, writing (admins)"' in app
    assert 'RouteSetting(prefix="/zebra-crossings", upstream="auth"),' in texts["gateway/kpi_gateway/settings.py"]


def _find_rows(settings: str) -> list[str]:
    return [line.strip() for line in settings.splitlines() if 'prefix="/zebra-crossings"' in line]


def test_what_may_read_a_whole_table_is_costly() -> None:
    fields = [
        "sku:slug:required,unique",
        "big:integer:required",
        "price:money:index",
        "status:enum(open|paid):required",
        "is_new:boolean:index",
        "post_id:bigint:foreign:posts.id",
        "link:url",
    ]
    [row] = _find_rows(wire_texts(fields=fields, public=True)["gateway/kpi_gateway/settings.py"])
    costly = '("total", "skip", "sort", "big_from", "big_to", "price_from", "price_to", "status")'
    assert row == f'RouteSetting(prefix="/zebra-crossings", upstream="content", costly_parameters={costly}),'


def test_large_files_get_through_the_gateway() -> None:
    texts = wire_texts(fields=["photo:image:max:5MiB"])
    # Other bodies are no larger than elsewhere.
    assert _find_rows(texts["gateway/kpi_gateway/settings.py"]) == [
        'RouteSetting(prefix="/zebra-crossings", upstream="content"),',
        'RouteSetting(prefix="/zebra-crossings", upstream="content", methods=("PUT",), body_limit=5 * 1024 * 1024),',
    ]
    for method, right in (("PUT", "write"), ("GET", "read"), ("DELETE", "write")):
        operation = f"{method} /api/v1/zebra-crossings/{{zebra_crossing_id}}/photo"
        assert f"{operation} {right}" in " ".join(texts["tests/rights.txt"].split())


def test_words_become_what_is_asked_for() -> None:
    spec = specify_resource(
        CHECKOUT,
        name=NAME,
        service="content",
        fields=["title:string:required", "owner:owner"],
        belongs_to=["Post"],
        soft_deletes=True,
    )
    assert [field.name for field in spec.fields] == ["post_id", "title"]
    assert (spec.fields[0].kind, spec.fields[0].required, spec.belongs_to) == (Kind.BIGINT, True, ("posts",))
    assert (spec.owner, spec.access, spec.soft_deletes) == ("owner", Access.PROTECTED, True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"service": "bulling"}, "there is no service 'bulling'"),
        ({"name": "User"}, "the address /users is served by auth"),
        ({"name": "Doc"}, "the address /docs is served by every part"),
        ({"name": "ConversationMember"}, "a table conversation_members, of another noun"),
        ({"name": "Broom", "plural": "housekeeping"}, "kpi_content has a module housekeeping"),
        ({"name": "Show", "plural": "live"}, "live is a folder of kpi_content that is no resource"),
        ({"public": True, "admin": True}, "--public and --admin contradict each other"),
        ({"belongs_to": ["towers"]}, "content has no table towers; its tables are authors, "),
        ({"belongs_to": ["postings"]}, "; did you mean posts?"),
        (
            {"name": "Category", "fields": ["parent_id:bigint:foreign:categories.id"]},
            "it refers to its own table categories",
        ),
        ({"name": "Category", "belongs_to": ["categories"]}, "it refers to its own table categories"),
        ({"fields": ["x:bigint:foreign:posts.nothing"]}, "the table posts has no column nothing"),
        ({"belongs_to": ["posts"], "fields": ["post_id:bigint:required"]}, "there are two fields named post_id"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FailureError) as raised:
        specify_resource(CHECKOUT, **{"name": NAME, "service": "content"} | options)
    assert sentence in str(raised.value)
    assert raised.value.code == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fields": ["size:int"]}, "'int' is not a kind of field"),
        ({"public": True, "admin": True}, "--public and --admin contradict each other"),
        ({"service": "content", "fields": ["a:text"]}, "there is no service 'content'"),
    ],
)
def test_mistakes_that_are_cheap_to_see_are_seen_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], sentence: str
) -> None:
    # To import inflect takes seconds on a busy machine.
    monkeypatch.setitem(sys.modules, "inflect", None)
    with pytest.raises(FailureError) as raised:
        specify_resource(tmp_path, **{"name": NAME, "service": "bulling"} | options)
    assert sentence in str(raised.value)


def test_what_belongs_to_an_account_has_an_owner() -> None:
    with pytest.raises(FailureError) as raised:
        specify_resource(CHECKOUT, NAME, service="content", belongs_to=["users"])
    assert raised.value.fix == "the account that makes a row is -f owner:owner"


EVERYBODY, OWNERS = "every account with a token may change and delete every row", "every account may read all rows"


@pytest.mark.parametrize(
    ("has_owner", "access", "warning"),
    [
        (False, "public", EVERYBODY),
        (False, "protected", EVERYBODY),
        (False, "admin", None),
        (True, "public", None),
        (True, "protected", OWNERS),
        (True, "admin", None),
    ],
)
def test_the_notes_say_who_may_change_rows(*, has_owner: bool, access: str, warning: str | None) -> None:
    fields = ["title:string:required", *(["owner:owner"] if has_owner else [])]
    spec = specify_resource(CHECKOUT, NAME, service="content", fields=fields, **{access: True})
    notes = wire(Plan(title="x", changes=()), spec, CHECKOUT).notes
    found = [note for note in notes if "every account" in note]
    assert [note.startswith(warning or "") for note in found] == ([True] if warning else [])


def test_a_resource_without_a_field_is_refused() -> None:
    with pytest.raises(FailureError, match="a resource needs a field"):
        plan_wired_resource(CHECKOUT, name=NAME, service="content")
