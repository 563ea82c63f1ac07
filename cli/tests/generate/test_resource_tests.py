"""The texts of the tests that come with a resource. What they find is shown by tests/generator, which runs them."""

import ast
from pathlib import Path

import pytest
from kpi_cli.generate.changes import NewFile, Plan
from kpi_cli.generate.fields.catalogue import code_of
from kpi_cli.generate.resource_tests import add_tests, print_compactly
from kpi_cli.generate.specs import Access
from resource_mixes import BILLING, EVERY_KIND, resource


def render(*arguments: object, **keywords: object) -> dict[str, str]:
    spec = resource(*arguments, **keywords)  # type: ignore[arg-type]
    plan = add_tests(Plan(title="x", changes=()), spec)
    files = {Path(change.path).name: change.text for change in plan.changes if isinstance(change, NewFile)}
    for text in files.values():
        ast.parse(text)
    return files


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("red", "'red'"),
        ("a" * 201, "'a' * 201"),
        ("https://example.com/" + "b" * 60, "'https://example.com/' + 'b' * 60"),
        ("x" * 40 + "@example.com", "'x' * 40 + '@example.com'"),
        ("no run of one letter is in this text", "'no run of one letter is in this text'"),
        ({"a": [1, None]}, "{'a': [1, None]}"),
    ],
)
def test_a_long_text_is_printed_as_what_it_repeats(value: object, printed: str) -> None:
    assert print_compactly(value) == printed
    assert eval(printed) == value  # noqa: S307 our own text


def test_every_field_is_tried_at_its_edges() -> None:
    written = render("Product", *EVERY_KIND)["test_products.py"]
    tables = {
        node.target.id: eval(compile(ast.Expression(node.value), "x", "eval"))  # noqa: S307 our own text
        for node in ast.parse(written).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }
    spec = resource("Product", *EVERY_KIND)
    codes = [code_of(field, spec.names) for field in spec.fields]
    assert tables["ACCEPTED"] == {code.name: list(code.accepted) for code in codes if code.accepted}
    assert tables["REFUSED"] == {code.name: list(code.refused) for code in codes}


def test_an_owner_an_open_list_and_admins_have_their_own_rights() -> None:
    public = render("Product", "title:string", "owner:owner", access=Access.PUBLIC)["test_products.py"]
    assert '("anonymous", "200 200 401 401 401")' in public
    assert '("bert", "200 200 201 403 403")' in public
    assert '("bert", "200 200 201 200 204")' in render("Product", "title:string")["test_products.py"]
    admin = render("Product", "title:string", access=Access.ADMIN)
    assert '("anna", "403 403 403 403 403")' in admin["test_products.py"]
    assert "is_for_admins=True" in admin["conftest.py"]


def test_what_a_row_belongs_to_is_made_by_its_seeder() -> None:
    files = render("Review", "stars:integer", parents=("post_id",), soft_deletes=True)
    assert '"post_id": await plant(app.state.database, PART, "posts")' in files["conftest.py"]
    assert 'AFTER = ("posts",)' in files["reviews.py"]
    assert "check_cascade" in files["test_reviews.py"]
    assert "check_soft_deletes" in files["test_reviews.py"]


def test_without_a_field_to_change_no_change_is_tried() -> None:
    written = render("Mark", parents=("post_id",))["test_marks.py"]
    assert '("anna", "200 200 201 405 204")' in written
    assert "check_lost_update" not in written


def test_files_have_tests_of_their_own() -> None:
    files = render("Product", "photo:image", "owner:owner")
    assert '("bert", "403 200 403")' in files["test_product_files.py"]
    assert "Storage.from_url(tmp_path.as_uri())" in files["conftest.py"]
    assert "photo" not in files["products.py"]


def test_owners_of_a_service_without_authors_are_accounts_of_auth() -> None:
    assert '"owner_id": range(1, 11)' in render("Bill", "title:string", "owner:owner", service=BILLING)["bills.py"]


def test_a_narrow_field_is_not_tried_with_what_it_does_not_take() -> None:
    narrow = (
        "name:string:max:9",
        "label:text:min:11",
        "state:enum(a)",
        "fee:percent:ge:5,le:5",
        "ok:integer:ge:1,le:1",
    )
    written = render("Badge", *narrow)["test_badge_lists.py"]
    assert [name for name in ("check_search", "check_filter", "check_range") if name in written] == []


def test_a_field_with_just_enough_room_is_tried() -> None:
    written = render("Badge", "name:string:min:10,max:10", "state:enum(a|b)", "fee:percent:ge:5,le:5.01")
    for name in ("check_search", "check_filter", "check_range"):
        assert name in written["test_badge_lists.py"], name
