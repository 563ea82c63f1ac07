"""The code of resources: what each mix of options has, and that it is in the style of the house without an edit."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.generate import applying
from kpi_cli.generate.changes import NewFile
from kpi_cli.generate.resource import plan_resource
from kpi_cli.generate.specs import Access, ResourceSpec
from resource_mixes import BILLING, EVERY_KIND, MIXES, resource

CHECKOUT = Path(__file__).parents[3]
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60


def texts_of(spec: ResourceSpec) -> dict[str, str]:
    """The texts of the noun's folder by the names of the modules."""
    files = [change for change in plan_resource(spec, CHECKOUT).changes if isinstance(change, NewFile)]
    folder = f"{spec.service.folder}/{spec.service.package}/{spec.names.plural}/"
    return {file.path.removeprefix(folder).removesuffix(".py"): file.text for file in files}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of all mixes, formatted as the command does it."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copy(CHECKOUT / "pyproject.toml", root)
    paths = []
    for spec in MIXES:
        plan = plan_resource(spec, CHECKOUT)
        applying.make(root, plan)
        paths += [change.path for change in plan.changes]
    applying.format_code(root, paths)
    return root


def run(root: Path, *command: str) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_code_passes_the_linters(tree: Path) -> None:
    run(tree, "ruff", "check", "--no-cache")
    run(tree, "ruff", "format", "--check", "--no-cache")


def test_only_repositories_have_sql(tree: Path) -> None:
    run(tree, "kpi_shared.testing.check_sql", "services/content", "services/billing")


def functions(tree: Path) -> Iterator[tuple[Path, ast.AsyncFunctionDef | ast.FunctionDef]]:
    for path in tree.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                yield path, node


def test_files_and_functions_are_short(tree: Path) -> None:
    assert [path for path in tree.rglob("*.py") if len(path.read_text().splitlines()) >= MOST_LINES] == []
    lengths = {f"{path}:{node.name}": (node.end_lineno or 0) - node.lineno + 1 for path, node in functions(tree)}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_FUNCTION} == {}


def test_no_file_says_that_it_was_generated(tree: Path) -> None:
    texts = [path.read_text().lower() for path in tree.rglob("*.py")]
    assert texts
    assert [text for text in texts if re.search("generat|template|kpi make", text)] == []


def test_everything_that_is_imported_is_used_and_nothing_is_imported_from_another_service(tree: Path) -> None:
    for path in tree.rglob("*.py"):
        packages = set(re.findall(r"^from (kpi_\w+)", path.read_text(), re.MULTILINE))
        assert packages <= {"kpi_shared", path.relative_to(tree / "services").parts[1]}, path


@pytest.mark.parametrize(
    ("access", "read", "write"),
    [
        (Access.PUBLIC, "OptionalReadAccess", "WriteAccess"),
        (Access.PROTECTED, "ReadAccess", "WriteAccess"),
        (Access.ADMIN, "AdminAccess", "AdminAccess"),
    ],
)
def test_each_operation_has_the_access_of_the_mode(access: Access, read: str, write: str) -> None:
    tree = ast.parse(texts_of(resource("Part", "name:string", access=access))["endpoints"])
    found = {
        node.name: {ast.unparse(argument.annotation) for argument in node.args.args if argument.annotation}
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
    }
    for name, annotations in found.items():
        if name == "list_parts":
            # Its dependency demands it.
            continue
        expected = read if name in {"get_part", "_parse_list_request"} else write
        assert {one for one in annotations if one.endswith("Access")} == {expected}, name
    assert set(found) == {
        *("_parse_list_request", "list_parts", "get_part", "create_part"),
        *("replace_part", "update_part", "delete_part"),
    }


def test_soft_deletes_add_a_column_a_filter_and_an_operation_for_admins() -> None:
    texts = texts_of(resource("Part", "name:string:unique", soft_deletes=True))
    assert "async def restore_part(part_id: RowId, _caller: AdminAccess" in texts["endpoints"]
    assert "require_admin(caller)" in texts["endpoints"]
    assert "deleted_at: datetime | None = deletion_time()" in texts["models"]
    assert 'postgresql_where=text("deleted_at IS NULL")' in texts["models"]
    without = texts_of(resource("Part", "name:string:unique"))
    assert "restore" not in without["endpoints"] + without["service"]
    assert "deleted" not in without["models"] + without["schemas"]


def test_an_owner_is_an_author_where_the_service_knows_authors_and_else_a_number() -> None:
    content, billing = (texts_of(resource("Part", "owner:owner", service=each)) for each in (MIXES[0].service, BILLING))
    assert 'ForeignKey("authors.id")' in content["models"]
    assert "owner: AuthorPublic" in content["schemas"]
    assert 'row["owner"]["id"] != caller.id' in content["service"]
    assert "owner_id: int = Field(sa_type=BigInteger)" in billing["models"]
    assert "owner_id: int" in billing["schemas"]
    assert 'row["owner_id"] != caller.id' in billing["service"]
    assert "authors" not in "".join(billing.values())
    assert 'title = "Only the owner or an admin may change a part"' in content["errors"]


def test_what_a_row_belongs_to_cannot_be_changed() -> None:
    schemas = texts_of(resource("Review", "stars:integer", parents=("post_id",)))["schemas"]
    classes = {node.name: ast.unparse(node) for node in ast.parse(schemas).body if isinstance(node, ast.ClassDef)}
    assert "post_id: Reference" in classes["ReviewCreate"]
    assert "post_id" not in classes["ReviewReplace"] + classes["ReviewUpdate"]


@pytest.mark.parametrize("spec", [resource("Link", parents=("post_id",)), resource("Mark")])
def test_without_a_field_to_change_there_is_no_put_and_no_patch(spec: ResourceSpec) -> None:
    texts = texts_of(spec)
    assert not spec.is_changeable
    assert "@router.put" not in texts["endpoints"]
    assert "@router.patch" not in texts["endpoints"]
    assert "Update" not in texts["schemas"]
    assert "async def change" not in texts["service"]


def test_a_field_with_the_name_of_an_imported_type_hides_it_not() -> None:
    schemas = texts_of(resource("Option", "field:string:required", "annotated:text"))["schemas"]
    assert "OptionField = Annotated[" in schemas
    assert "OptionAnnotated = Annotated[" in schemas


def test_fields_of_the_same_type_have_their_own_names() -> None:
    schemas = texts_of(resource("Box", "height:integer:ge:0", "width:integer:ge:0"))["schemas"]
    assert "height: Height | None" in schemas
    assert "width: Width | None" in schemas


def imported_names(texts: dict[str, str], module: str) -> set[str]:
    imports = [node for node in ast.parse(texts[module]).body if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names if alias.name[0].isupper()}


def test_no_class_of_a_resource_has_the_name_of_one_that_is_imported() -> None:
    """The names come from the imports of a resource with every kind of field."""
    texts = texts_of(resource("Product", *EVERY_KIND, "owner:owner", soft_deletes=True))
    endings = {"models": ("",), "repository": ("",), "errors": ("NotFoundError",)}
    endings["schemas"] = ("Create", "Update", "Public", "Page", "Query")
    names = {
        name.removesuffix(ending)
        for module, every in endings.items()
        for ending in every
        for name in imported_names(texts, module)
        if name.endswith(ending) and not name.startswith("Product") and not name.isupper()
    }
    assert {"Row", "CountedRow", "Numeric", "List"} <= names
    # That one becomes Record.
    assert {name for name in names if is_accepted(name)} == {"Records"}


def is_accepted(name: str) -> bool:
    try:
        plan_resource(resource(name, *EVERY_KIND, "owner:owner", soft_deletes=True), CHECKOUT)
    except FailureError:
        return False
    return True


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (("Price", "price:money", "price_from:uuid"), "two query parameters named price_from"),
        (("Log", "write_time:datetime"), "use what has the name write_time"),
        (("Log", "words_of:string"), "use what has the name words_of"),
        (("Log", "email:string", "contact:email"), "would use the name MAX_EMAIL for two things"),
        (("Search", "words:enum(a|b)", "title:string"), "would use the name SearchWords for two things"),
        (("Cursor",), "would use the name cursors for two things"),
        (("Header",), "would use the name headers for two things"),
        (("Log", "deletion_time:datetime"), "use what has the name deletion_time"),
    ],
)
def test_names_that_hide_others_are_refused_with_one_sentence(spec: tuple[str, ...], reason: str) -> None:
    with pytest.raises(FailureError, match=reason):
        plan_resource(resource(*spec, soft_deletes=True), CHECKOUT)


@pytest.mark.parametrize("spec", [resource("Item", "a:string"), resource("Row2", "row_id:bigint")])
def test_names_of_the_shared_library_are_free_where_they_hide_nothing(spec: ResourceSpec) -> None:
    assert texts_of(spec)


def test_a_choice_named_as_a_body_has_another_class() -> None:
    schemas = texts_of(resource("Leaf", "replace:enum(a|b)", parents=("post_id",)))["schemas"]
    assert "class LeafReplace(" in schemas
    assert "replace: LeafReplaceChoice" in schemas
