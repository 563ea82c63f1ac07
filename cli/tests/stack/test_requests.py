"""A running stack that another command asks to take up new code, with stand-ins for the parts."""

from pathlib import Path

from cli_harness import Checkout
from kpi_cli.generate import local_stack
from kpi_cli.layout import Layout
from kpi_cli.parts import PARTS

PATHS = ["services/content/kpi_content/posts/models.py", "gateway/kpi_gateway/settings.py", "tests/rights.txt"]


def layout_of(checkout: Checkout) -> Layout:
    """With the folder whose code and migrations the stack itself looks at."""
    return Layout(checkout=Path(__file__).parents[3], home=checkout.home)


def pids(checkout: Checkout) -> dict[str, int]:
    return {process.cmdline()[2]: process.pid for process in checkout.processes() if "-m" in process.cmdline()}


def test_parts_with_new_code_are_migrated_and_started_again(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    before = pids(checkout)
    # As after a new file of migrations.
    (checkout.home / "migrations.json").unlink()
    address = checkout.status()["gateway_url"]
    assert local_stack.take_up(layout_of(checkout), PATHS) == [f"the running stack has taken it up: {address}"]
    after = pids(checkout)

    assert {name for name in before if before[name] != after[name]} == {"kpi_content", "kpi_gateway"}
    assert stack.get("/") == b"ok"
    assert local_stack.take_up(layout_of(checkout), ["tests/rights.txt", "docs/openapi.json"]) == []
    assert stack.stop() == 0
    assert "kpi      | content is started again with its new code" in stack.lines
    assert [line for line in stack.lines if "at the newest migration" in line] == [
        "content  | content is at the newest migration"
    ]
    assert stack.errors == ""
    assert checkout.processes() == []


def test_a_part_whose_migration_fails_goes_on_with_its_old_code(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    before = pids(checkout)
    checkout.order("no-migration-content")
    (checkout.home / "migrations.json").unlink()
    [note] = local_stack.take_up(layout_of(checkout), PATHS)
    assert "content goes on with its old code, since its migrations failed: see " in note
    after = pids(checkout)
    assert {name for name in before if before[name] != after[name]} == {"kpi_gateway"}
    assert stack.get("/") == b"ok"
    assert stack.stop() == 0
    assert "kpi      | content: its migrations ended with exit code 1" in stack.lines


def test_a_stack_that_is_stopped_or_lacks_the_part_is_not_asked(checkout: Checkout) -> None:
    assert local_stack.take_up(layout_of(checkout), PATHS) == []
    stack = checkout.up().wait_until_ready()
    [note] = local_stack.take_up(layout_of(checkout), ["services/nowhere/kpi_nowhere/app.py"])
    assert "make up" in note
    assert stack.stop() == 0


def test_the_parts_are_found_by_the_paths_of_their_programs() -> None:
    assert local_stack.find_parts(PATHS) == ["content", "gateway"]
    assert local_stack.find_parts(["services/content/migrations/versions/c007.py"]) == ["content"]
    assert local_stack.find_parts(["shared/kpi_shared/errors.py"]) == [part.name for part in PARTS]
    others = ["services/content/tests/test_x.py", "shared/kpi_shared/testing/x.py", "cli/kpi_cli/main.py", "README.md"]
    assert local_stack.find_parts(others) == []
