"""What ``kpi make`` leaves alone: what is saved while it runs, what lies outside the checkout, what others wrote."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.generate import applying, local_stack, records, scratch, writing
from kpi_cli.generate.changes import Edit, NewFile, Plan, Step
from kpi_cli.layout import Layout

NEW, EDITED = "app/new.py", "app/main.py"
CHANGES = (NewFile(NEW, "NEW = 1\n"), Edit(EDITED, lambda text: text.replace('"a"', '"b"')))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    checkout = tmp_path / "shop"
    (checkout / "app").mkdir(parents=True)
    (checkout / EDITED).write_text('NAMES = ["a"]\n')
    (checkout / "notes.txt").write_text("mine\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "main.py").write_text('NAMES = ["a"]\n')
    return Layout(checkout=checkout, home=tmp_path / "home")


@pytest.fixture
def outside(layout: Layout) -> Path:
    return layout.checkout.parent / "outside"


def look(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run(layout: Layout, *steps: Step, changes: tuple[NewFile | Edit, ...] = CHANGES, **options: bool) -> bool:
    plan = Plan(title="thing", changes=changes, steps=steps)
    return applying.run_plan(layout, plan, **{"dry_run": False, "force": False, "as_json": False} | options)


def save(layout: Layout, path: str, text: str = "saved = 1\n") -> Step:
    """What the developer saves in the checkout while a step of the plan runs."""

    def write(_: Path) -> None:
        (layout.checkout / path).write_text(text)

    return write


def write_in_copy(path: str) -> Step:
    def write(root: Path) -> None:
        (root / path).write_text("made = 1\n")

    return write


def test_what_is_saved_while_a_plan_runs_stays(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    unformatted = "other = {'a':1}\n"
    assert run(layout, save(layout, "notes.txt"), save(layout, "other.py", unformatted))
    assert "notes.txt" not in capsys.readouterr().out
    # The second time there is nothing to do.
    assert not run(layout, save(layout, "notes.txt", "saved again\n"))
    applying.undo(layout, as_json=False)
    assert look(layout.checkout) == {
        EDITED: b'NAMES = ["a"]\n',
        "notes.txt": b"saved again\n",
        "other.py": unformatted.encode(),
    }


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("path", [EDITED, NEW, "made.py"])
def test_what_would_be_overwritten_is_refused(layout: Layout, path: str, dry_run: bool) -> None:
    expected = look(layout.checkout) | {path: b"saved = 1\n"}
    with pytest.raises(FailureError, match=f"{path} in the checkout is not as when the command began"):
        run(layout, save(layout, path), write_in_copy("made.py"), dry_run=dry_run)
    assert look(layout.checkout) == expected
    assert records.newest(layout) is None


def test_a_file_deleted_while_a_plan_runs_does_not_come_back(layout: Layout) -> None:
    with pytest.raises(FailureError, match=f"{EDITED} in the checkout is not as when"):
        run(layout, lambda _: (layout.checkout / EDITED).unlink())
    assert list(look(layout.checkout)) == ["notes.txt"]


def test_what_is_saved_while_drafts_are_written_stays(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    create = records.create

    def save_too(*arguments: object) -> object:
        save(layout, EDITED)(layout.checkout)
        return create(*arguments)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(records, "create", save_too)
    expected = look(layout.checkout) | {EDITED: b"saved = 1\n"}
    with pytest.raises(FailureError, match=f"{EDITED} in the checkout is not as when"):
        run(layout)
    assert look(layout.checkout) == expected


def test_what_is_saved_while_a_command_is_taken_back_stays(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The downgrade of a local database takes seconds."""
    run(layout)
    expected = look(layout.checkout) | {EDITED: b"saved = 1\n"}

    def give_up(*_: object) -> list[str]:
        save(layout, EDITED)(layout.checkout)
        return []

    taken_up: list[object] = []
    monkeypatch.setattr(local_stack, "give_up", give_up)
    monkeypatch.setattr(local_stack, "take_up", lambda _, paths: taken_up.extend(paths))
    with pytest.raises(FailureError, match=f"{EDITED} in the checkout is not as when"):
        applying.undo(layout, as_json=False)
    assert look(layout.checkout) == expected
    assert records.newest(layout) is not None
    # The code stays, and a running stack gets its tables again.
    assert taken_up == [EDITED, NEW]


def test_a_file_that_git_ignores_is_not_overwritten_without_force(layout: Layout) -> None:
    subprocess.run(["git", "init", "-q", str(layout.checkout)], check=True)
    (layout.checkout / ".gitignore").write_text(f"{NEW}\n")
    (layout.checkout / NEW).write_text("mine = 1\n")
    with pytest.raises(FailureError, match=r"app/new\.py exists with other contents"):
        run(layout)
    assert run(layout, force=True)
    assert not run(layout)
    applying.undo(layout, as_json=False)
    assert (layout.checkout / NEW).read_text() == "mine = 1\n"


def link_file(checkout: Path, outside: Path) -> None:
    (checkout / EDITED).unlink()
    (checkout / EDITED).symlink_to(outside / "main.py")


def link_folder(checkout: Path, outside: Path) -> None:
    (checkout / EDITED).unlink()
    (checkout / "app").rmdir()
    (checkout / "app").symlink_to(outside)


def link_within(checkout: Path, _: Path) -> None:
    (checkout / "app").rename(checkout / "code")
    (checkout / "app").symlink_to("code")


def link_git_folder(checkout: Path, outside: Path) -> None:
    """Git goes on listing the file below the link."""
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    subprocess.run(["git", "-C", str(checkout), "add", "."], check=True)
    link_folder(checkout, outside)


LINKS = [link_file, link_folder, link_within, link_git_folder]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_nothing_is_written_through_a_link(
    layout: Layout, outside: Path, link: Callable[[Path, Path], None], dry_run: bool
) -> None:
    link(layout.checkout, outside)
    before = look(layout.checkout), look(outside)
    with pytest.raises(FailureError, match=r"app(/main\.py)? is a symbolic link"):
        run(layout, dry_run=dry_run)
    assert (look(layout.checkout), look(outside)) == before


@pytest.mark.parametrize("link", [link_file, link_git_folder])
def test_a_step_writes_nothing_through_a_link(
    layout: Layout, outside: Path, link: Callable[[Path, Path], None]
) -> None:
    link(layout.checkout, outside)
    before = look(outside)
    with pytest.raises(FailureError, match=r"app(/main\.py)? is a symbolic link"):
        run(layout, write_in_copy(EDITED), changes=())
    assert look(outside) == before


def test_a_link_out_of_the_checkout_is_read_and_one_within_stays(layout: Layout, outside: Path) -> None:
    (layout.checkout / "read.txt").symlink_to(outside / "main.py")
    (layout.checkout / "docs.txt").symlink_to("notes.txt")
    seen = {}

    def step(root: Path) -> None:
        seen.update({name: (root / name).is_symlink() for name in ("read.txt", "docs.txt")})
        assert (root / "read.txt").read_text() == 'NAMES = ["a"]\n'
        (root / "docs.txt").write_text("made\n")

    assert run(layout, step)
    assert seen == {"read.txt": False, "docs.txt": True}
    assert (layout.checkout / "docs.txt").is_symlink()
    assert (layout.checkout / "notes.txt").read_text() == "made\n"


@pytest.mark.parametrize("path", ["../outside/main.py", "app/../../outside/main.py", "/{outside}/main.py"])
def test_no_plan_leads_out_of_the_checkout(layout: Layout, outside: Path, path: str) -> None:
    path = path.replace("/{outside}", str(outside))
    before = look(outside)
    with pytest.raises(FailureError, match="is not in the checkout"):
        run(layout, changes=(NewFile(path, "x = 1\n"),), force=True)
    with pytest.raises(FailureError, match="is not in the checkout"):
        writing.replace_files(layout.checkout, records.journal(layout), {path: scratch.File(b"")}, was={})
    assert look(outside) == before


@pytest.mark.parametrize("phase", ["preparing", "replacing", "cleaning"])
@pytest.mark.parametrize(
    "kept",
    [
        {"files": ["{outside}/main.py"], "existing": [], "folders": []},
        {"files": ["../outside/main.py"], "existing": [], "folders": []},
        {"files": [], "existing": [], "folders": ["../outside/empty"]},
        {"files": ["{home}/made/lock"], "existing": [], "folders": []},
        {"files": 5},
        "text",
    ],
)
def test_a_journal_that_leads_out_of_the_checkout_is_refused(
    layout: Layout, outside: Path, kept: object, phase: str
) -> None:
    (outside / "empty").mkdir()
    text = json.dumps({**kept, "phase": phase} if isinstance(kept, dict) else kept)
    records.folder(layout).mkdir(parents=True)
    text = text.replace("{outside}", str(outside)).replace("{home}", str(layout.home))
    records.journal(layout).write_text(text)
    (records.folder(layout) / "lock").touch()
    before = look(layout.checkout.parent)
    with pytest.raises(FailureError, match=r"journal\.json cannot be used"):
        run(layout)
    assert look(layout.checkout.parent) == before
    assert (outside / "empty").is_dir()


@pytest.mark.parametrize(
    "changed",
    [
        {"before": {"../outside/new.py": {"content": "", "is_executable": False}}, "after": {}},
        {"before": {"../outside/main.py": None}, "after": {"../outside/main.py": "{hash}"}},
        {"before": {EDITED: None, "notes.txt": None}},
        {"folders": ["../outside/empty"]},
        {"after": []},
    ],
)
def test_a_record_that_leads_out_of_the_checkout_is_refused(
    layout: Layout, outside: Path, changed: dict[str, object]
) -> None:
    (outside / "empty").mkdir()
    run(layout)
    path = records.folder(layout) / "0001.json"
    found = scratch.read(outside / "main.py")
    assert found is not None
    path.write_text(json.dumps(json.loads(path.read_text()) | changed).replace("{hash}", found.hash))
    before = look(layout.checkout.parent)
    with pytest.raises(FailureError, match=r"0001\.json cannot be used"):
        applying.undo(layout, as_json=False)
    assert look(layout.checkout.parent) == before
    assert (outside / "empty").is_dir()


def test_json_stays_json_after_a_killed_command(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    records.folder(layout).mkdir(parents=True)
    kept = {"phase": "preparing", "files": [NEW], "existing": [], "folders": []}
    records.journal(layout).write_text(json.dumps(kept))
    run(layout, as_json=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["title"] == "thing"
    assert "the last kpi make was killed half-way" in printed.err
