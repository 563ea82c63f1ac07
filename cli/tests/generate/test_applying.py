"""Plans that are carried out on a small checkout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.generate import applying, editing, interruptions, local_stack, records, scratch, writing
from kpi_cli.generate.changes import Edit, NewFile, Plan
from kpi_cli.layout import Layout

MADE = Plan(
    title="thing",
    changes=(
        NewFile("app/things/models.py", "import os\nx = {'a':os.name}\n"),
        NewFile("run", "#!/bin/sh\n", is_executable=True),
        Edit("app/main.py", lambda text: editing.add_to_list(text, "NAMES", '"b"')),
    ),
    notes=("next: look at it",),
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    checkout = tmp_path / "shop"
    (checkout / "app").mkdir(parents=True)
    (checkout / "app" / "main.py").write_text('NAMES = ["a"]\n')
    (checkout / "notes.txt").write_text("mine\n")
    return Layout(checkout=checkout, home=tmp_path / "home")


def look(layout: Layout) -> dict[str, tuple[bytes, int]]:
    files = [path for path in layout.checkout.rglob("*") if path.is_file()]
    folders = {str(path): (b"", 0) for path in layout.checkout.rglob("*") if path.is_dir()}
    return folders | {str(path): (path.read_bytes(), path.stat().st_mode) for path in files}


def run(layout: Layout, plan: Plan, *, dry_run: bool = False, force: bool = False, as_json: bool = False) -> bool:
    return applying.run_plan(layout, plan, dry_run=dry_run, force=force, as_json=as_json)


def test_a_plan_is_made_once_and_taken_back(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    before = look(layout)
    assert run(layout, MADE)
    assert (layout.checkout / "app/things/models.py").read_text() == 'import os\n\nx = {"a": os.name}\n'
    assert (layout.checkout / "app/main.py").read_text() == 'NAMES = ["a", "b"]\n'
    assert (layout.checkout / "run").stat().st_mode & 0o111
    printed = capsys.readouterr().out
    assert "new     app/things/models.py" in printed
    assert "next: look at it" in printed

    after = look(layout)
    assert not run(layout, MADE)
    assert not run(layout, MADE, dry_run=True)
    assert look(layout) == after
    assert capsys.readouterr().out.count("everything is there already") == 2

    (layout.checkout / "app/things/__pycache__").mkdir()
    applying.undo(layout, as_json=False)
    assert look(layout) == before


def test_several_are_taken_back_one_by_one(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    states = [look(layout)]
    for name in ("one", "two", "three"):
        run(layout, Plan(title=name, changes=(NewFile("new.txt", f"{name}\n"),)), force=True)
        states.append(look(layout))
    capsys.readouterr()
    for expected in reversed(states[:-1]):
        applying.undo(layout, as_json=True)
        assert look(layout) == expected
    titles = [json.loads(line)["title"] for line in capsys.readouterr().out.splitlines()]
    assert titles == ["three", "two", "one"]
    with pytest.raises(FailureError, match="nothing to take back"):
        applying.undo(layout, as_json=False)


def test_what_was_changed_since_is_not_taken_back(layout: Layout) -> None:
    run(layout, MADE)
    (layout.checkout / "run").unlink()
    (layout.checkout / "app/main.py").write_text("mine\n")
    before = look(layout)
    with pytest.raises(FailureError, match=r"app/main\.py and run have changed"):
        applying.undo(layout, as_json=False)
    assert look(layout) == before


def test_nothing_is_overwritten_without_force(layout: Layout) -> None:
    path = layout.checkout / "app/things/models.py"
    path.parent.mkdir()
    path.write_text("mine\n")
    before = look(layout)
    with pytest.raises(FailureError, match=r"app/things/models\.py exists with other contents"):
        run(layout, MADE)
    assert look(layout) == before
    assert run(layout, MADE, force=True)
    applying.undo(layout, as_json=False)
    assert look(layout) == before


def test_a_noun_of_the_same_name_is_named_by_its_folder(layout: Layout) -> None:
    changes = tuple(NewFile(f"app/boxes/{name}.txt", "mine\n") for name in "abcd")
    plan = Plan(title="box", changes=changes, noun="app/boxes")
    assert run(layout, plan)
    assert not run(layout, plan)
    others = tuple(NewFile(change.path, "other\n") for change in changes)
    with pytest.raises(FailureError, match="the name is taken by app/boxes") as raised:
        run(layout, Plan(title="box", changes=others, noun="app/boxes"))
    assert "--force shows" in raised.value.fix
    # One that was changed is named.
    with pytest.raises(FailureError, match=r"app/boxes/a\.txt exists with other contents"):
        run(layout, Plan(title="box", changes=(others[0], *changes[1:]), noun="app/boxes"))


@pytest.mark.parametrize(
    ("removed", "restored", "text"),
    [(1, 0, "1 file removed"), (12, 5, "12 files removed, 5 files as before"), (0, 1, "1 file as before")],
)
def test_files_that_are_taken_back_are_counted(removed: int, restored: int, text: str) -> None:
    assert applying._count(removed, restored) == text


def test_a_preview_changes_nothing(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    before = look(layout)
    run(layout, MADE, dry_run=True)
    printed = capsys.readouterr().out
    assert "models.py (new)" in printed
    assert '-NAMES = ["a"]\n+NAMES = ["a", "b"]\n' in printed
    assert "\x1b" not in printed
    run(layout, MADE, dry_run=True, as_json=True)
    rows = json.loads(capsys.readouterr().out)["files"]
    assert {row["path"]: row["change"] for row in rows} == {
        "app/main.py": "changed",
        "app/things/models.py": "new",
        "run": "new",
    }
    assert look(layout) == before
    assert records.newest(layout) is None


def test_a_second_command_waits_for_no_other(layout: Layout) -> None:
    with records.hold(layout), pytest.raises(FailureError, match="another kpi make is at work"):
        run(layout, MADE)


def fail(root: Path) -> None:
    (root / "notes.txt").write_text("changed\n")
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "plan",
    [
        Plan(title="step", changes=MADE.changes, steps=(fail,)),
        Plan(
            title="anchor",
            changes=(*MADE.changes, Edit("app/main.py", lambda text: editing.add_to_list(text, "X", "a"))),
        ),
        Plan(title="missing", changes=(*MADE.changes, Edit("app/none.py", str))),
        Plan(title="syntax", changes=(*MADE.changes, NewFile("broken.py", "def (:\n"))),
    ],
    ids=lambda plan: plan.title,
)
def test_a_failure_in_the_copy_leaves_everything_as_it_was(layout: Layout, plan: Plan) -> None:
    before = look(layout)
    with pytest.raises((FailureError, KeyboardInterrupt)):
        run(layout, plan)
    assert look(layout) == before
    assert records.newest(layout) is None


def test_an_interruption_says_that_nothing_was_written(layout: Layout) -> None:
    before = look(layout)
    with pytest.raises(FailureError, match="interrupted; nothing was written") as raised, interruptions.report(layout):
        run(layout, Plan(title="step", changes=MADE.changes, steps=(fail,)))
    assert raised.value.code == 130
    assert look(layout) == before


def test_an_interruption_after_the_files_says_how_to_take_them_back(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_stack, "take_up", lambda *_: fail(layout.checkout))
    sentence = "interrupted after all files were written"
    with pytest.raises(FailureError, match=sentence) as raised, interruptions.report(layout):
        run(layout, MADE)
    assert raised.value.code == 130
    assert "make undo" in raised.value.fix
    assert (layout.checkout / "run").exists()


CALLS = ("write_bytes", "write_text", "chmod", "replace", "mkdir", "unlink")


class KilledError(BaseException):
    """Stands for the end of the process."""


def fail_at(number: int, failure: BaseException, called: list[str], real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        called.append(real.__name__)
        if len(called) == number:
            raise failure
        return real(*arguments, **options)

    return call


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KilledError()])
def test_a_failure_while_writing_leaves_all_or_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """Each call of the file system fails in its turn. Where that ends the process, the next command repairs."""
    before, found = look(layout), []
    for number in range(1, 100):
        called: list[str] = []
        with monkeypatch.context() as patched:
            for name in CALLS:
                patched.setattr(Path, name, fail_at(number, failure, called, getattr(Path, name)))
            if isinstance(failure, KilledError):
                patched.setattr(writing, "repair", lambda *_: False)
            has_failed = write_something(layout)
        writing.repair(layout.checkout, records.journal(layout))
        found.append(look(layout) == before)
        record = records.newest(layout)
        assert (record is None) == found[-1], number
        if record is not None:
            assert find_texts(layout) == {"app/main.py": "changed\n", "app/new/deep/file.py": "new\n"}
            (layout.checkout / "notes.txt").write_text("mine\n")
            applying.undo(layout, as_json=True)
            assert look(layout) == before
        if not has_failed:
            break
    # Nothing at first, and everything from the moment on at which the last file is in its place.
    assert found == sorted(found, reverse=True)
    assert found.count(True) > 12


def find_texts(layout: Layout) -> dict[str, str]:
    files = [path for path in layout.checkout.rglob("*") if path.is_file()]
    return {str(path.relative_to(layout.checkout)): path.read_text() for path in files}


def write_something(layout: Layout) -> bool:
    files = {
        "app/main.py": scratch.File(b"changed\n"),
        "app/new/deep/file.py": scratch.File(b"new\n"),
        "notes.txt": None,
    }
    path, record = records.create(layout, "second", {name: file for name, file in files.items() if file})
    try:
        writing.replace_files(layout.checkout, records.journal(layout), {**files, path: record}, was={})
    except (OSError, KilledError):
        return True
    return False
