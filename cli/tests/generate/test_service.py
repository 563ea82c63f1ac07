"""What ``kpi make service`` would do to this checkout, as a plan: nothing is written."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
from kpi_cli import layout, parts
from kpi_cli.errors import FailureError
from kpi_cli.generate import service
from kpi_cli.generate.changes import Edit, NewFile, Plan
from kpi_cli.generate.editing import AnchorError
from kpi_cli.generate.service import find_part, plan_service

CHECKOUT = layout.find().checkout
# No service of this checkout.
NAME = "billing_desk"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_service(NAME, CHECKOUT)


def files(plan: Plan) -> dict[str, str]:
    return {change.path: change.text for change in plan.changes if isinstance(change, NewFile)}


def edited(plan: Plan, path: str) -> str:
    """The file of this checkout after the edit, which changes nothing the second time."""
    (change,) = (each for each in plan.changes if isinstance(each, Edit) and each.path == path)
    once = change.change((CHECKOUT / path).read_text(encoding="utf-8"))
    assert change.change(once) == once != (CHECKOUT / path).read_text(encoding="utf-8")
    return once


def test_its_folder_has_what_those_of_the_other_services_have(plan: Plan) -> None:
    made = {path.removeprefix(f"services/{NAME}/") for path in files(plan) if path.startswith("services/")}
    assert {"Dockerfile", "pyproject.toml", "requirements.txt", "alembic.ini", ".importlinter"} <= made
    assert {f"kpi_{NAME}/{name}.py" for name in ("app", "asgi", "__main__", "settings", "tables")} <= made
    assert {"tests/conftest.py", "tests/test_surface.py", "migrations/env.py"} <= made
    # config/.env.example, the first migration and docs/commands.md are made by programs, from the code.
    assert len(plan.steps) == 3


def test_installing_it_is_the_first_of_the_next_steps(plan: Plan) -> None:
    assert plan.notes[0].endswith(": make install")
    # What carries the plan out says how the stack takes it up.
    assert not [note for note in plan.notes if note.endswith(": make up")]


def test_every_file_of_python_can_be_read_and_has_a_docstring(plan: Plan) -> None:
    sources = {path: text for path, text in files(plan).items() if path.endswith(".py") and text}
    assert len(sources) > 10
    assert [path for path, text in sources.items() if not ast.get_docstring(ast.parse(text))] == []


def test_the_numbers_of_the_row_are_new_and_the_image_has_the_same(plan: Plan) -> None:
    part = find_part(NAME)
    for field in ("name", "package", "folder", "port", "uid"):
        assert getattr(part, field) not in {getattr(other, field) for other in parts.PARTS}, field
    image = files(plan)[f"services/{NAME}/Dockerfile"]
    assert f"--uid {part.uid} " in image
    assert f"EXPOSE {part.port} " in image
    assert f"port={part.port}" in files(plan)[f"services/{NAME}/kpi_{NAME}/settings.py"]


def test_the_colours_begin_again_when_all_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(24):
        monkeypatch.setattr(service, "PARTS", (*service.PARTS, find_part(f"desk_{number}")))
    for field in ("name", "port", "uid"):
        assert len({getattr(part, field) for part in service.PARTS}) == len(service.PARTS), field
    colours = [part.colour for part in service.PARTS]
    assert len(set(colours[:12])) == 12
    assert max(Counter(colours).values()) <= 3


def test_the_platform_gets_a_row_an_address_and_a_block(plan: Plan) -> None:
    port = find_part(NAME).port
    table = edited(plan, "cli/kpi_cli/parts.py")
    names = re.findall(r'name="(\w+)"', table)
    assert names[-2:] == [NAME, "gateway"]
    settings = edited(plan, "gateway/kpi_gateway/settings.py")
    assert f'{NAME}_url: UpstreamUrls = Field(default=("http://127.0.0.1:{port}",)' in settings
    containers = edited(plan, "docker-compose.yml")
    assert (
        containers.index(f"  {NAME}-migrate:\n") < containers.index(f"  {NAME}:\n") < containers.index("  gateway:\n")
    )
    gateway = containers.partition("  gateway:\n")[2]
    assert f"      {NAME}: {{condition: service_healthy}}\n" in gateway
    assert f"      BILLING_DESK_URL: http://{NAME}:{port}\n" in gateway
    assert f"| `services/{NAME}` |" in edited(plan, "docs/architecture.md")
    assert len([change for change in plan.changes if isinstance(change, Edit)]) == 4


def test_the_decision_has_the_next_number(plan: Plan) -> None:
    (path,) = (path for path in files(plan) if path.startswith("docs/adr/"))
    newest = max(file.name[:4] for file in (CHECKOUT / "docs" / "adr").glob("[0-9]*.md"))
    assert path == f"docs/adr/{int(newest) + 1:04}-billing-desk-service.md"
    assert files(plan)[path].startswith(f"# {int(newest) + 1}. A service for billing desk\n")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "a name has 2 to 31 characters") for name in ("", "a", "1st", "Billing", "bill-ing", "x" * 32, "é1")),
        *((name, "it is a word of Python or SQL") for name in ("class", "select", "match", "order")),
        *(
            (name, "something else of that name")
            for name in ("auth", "gateway", "shared", "public", "postgres", "keys")
        ),
    ],
)
def test_a_name_that_means_something_else_is_refused(name: str, reason: str) -> None:
    with pytest.raises(FailureError) as caught:
        plan_service(name, CHECKOUT)
    assert reason in caught.value.sentence
    assert caught.value.code == 2


def test_a_service_that_exists_is_refused() -> None:
    with pytest.raises(FailureError, match="there is a service content already, in services/content") as caught:
        plan_service("content", CHECKOUT)
    assert caught.value.code == 2


def test_a_moved_place_is_named(plan: Plan) -> None:
    (change,) = (each for each in plan.changes if isinstance(each, Edit) and each.path == "docker-compose.yml")
    with pytest.raises(AnchorError, match="no 'gateway: <<: \\*service'"):
        change.change("services: {}\n")


def test_a_checkout_without_services_has_no_example(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="this checkout has no service"):
        plan_service(NAME, tmp_path)
