"""``kpi upgrade``: what both have changed is merged, and what cannot be is shown."""

import json
from pathlib import Path

import pytest
from kpi_cli import main, project_commands
from kpi_cli.errors import FailureError
from kpi_cli.projects import answers, report
from kpi_cli.projects.extras import Extra
from kpi_cli.projects.merging import Conflict
from project_house import House, Project, git
from typer.testing import CliRunner


def test_changes_at_different_places_are_merged_into_one_commit(house: House, project: Project) -> None:
    project.replace("app.py", "return 1", "return 100")
    project.write("mine.py", "mine = 1\n")
    before = project.commit("Mine")
    house.replace("app.py", "return 3", "return 300")
    house.write("new.md", "New\n")
    git(house.folder, "rm", "--quiet", "unused.md")
    newest = house.commit("Change three")

    done = project.upgrade()
    assert done is not None
    assert not done.conflicts
    text = project.read("app.py")
    assert ("return 100" in text, "return 300" in text) == (True, True)
    assert project.read("mine.py") == "mine = 1\n"
    assert {"new.md", "unused.md"} & project.names() == {"new.md"}
    assert project.read("README.md").startswith("# Acme\n")
    assert answers.read(project.folder).commit == newest
    assert project.status() == ""
    assert git(project.folder, "log", "--format=%P", "-1").strip() == before == done.former
    assert git(project.folder, "log", "--format=%B", "-1").strip().endswith("- Change three")
    assert set(done.changes) == {
        ("M", ".copier-answers.yml"),
        ("M", "app.py"),
        ("A", "new.md"),
        ("D", "unused.md"),
    }
    assert project.upgrade() is None


def test_the_projects_name_is_no_conflict(house: House, project: Project) -> None:
    house.replace("app.py", '"Platform"', '"Platform"  # its name')
    house.replace("pyproject.toml", 'name = "platform"', 'name = "platform"\nversion = "2"')
    house.commit()
    done = project.upgrade()
    assert done is not None
    assert not done.conflicts
    assert project.read("app.py").startswith('PRODUCT = "Acme"  # its name\n')
    assert project.read("pyproject.toml") == '[project]\nname = "acme"\nversion = "2"\n'


def conflict(house: House, project: Project) -> None:
    """The same line is changed on both sides, and each side changes another file."""
    project.replace("app.py", '    "content",\n', '    "content",\n    "billing",\n')
    project.write("mine.py", "mine = 1\n")
    project.commit("Mine")
    house.replace("app.py", '    "content",\n', '    "content",\n    "search",\n')
    house.write("new.md", "New\n")
    house.commit("Theirs")


def test_a_conflict_is_shown_with_its_place_and_can_be_taken_back(house: House, project: Project) -> None:
    conflict(house, project)
    before = git(project.folder, "rev-parse", "HEAD").strip()
    done = project.upgrade()
    assert done is not None
    assert list(done.conflicts) == [Conflict("app.py", 6, "changed on both sides")]
    lines = project.read("app.py").splitlines()
    assert lines[5].startswith("<<<<<<< ")
    assert {'    "billing",', '    "search",'} <= set(lines)
    # Nothing is committed while there is something to decide.
    assert git(project.folder, "rev-parse", "HEAD").strip() == before
    assert "UU app.py" in project.status()

    git(project.folder, "cherry-pick", "--abort")
    assert project.status() == ""
    assert "new.md" not in project.names()


def test_the_next_upgrade_waits_until_the_conflicts_are_decided(house: House, project: Project) -> None:
    conflict(house, project)
    project.upgrade()
    with pytest.raises(FailureError, match="an earlier upgrade waits") as refused:
        project.upgrade()
    # Marks of conflicts must not be committed by our own advice.
    assert "git cherry-pick --abort" in refused.value.fix


def test_a_version_beside_the_present_one_takes_nothing_back_unasked(house: House, project: Project) -> None:
    house.write("later.md", "Later\n")
    house.commit("Add later.md")
    project.upgrade()
    git(house.folder, "checkout", "--quiet", "-b", "side", "HEAD~1")
    house.write("side.md", "Side\n")
    house.commit("Add side.md")

    with pytest.raises(FailureError, match="is no successor of what is here") as refused:
        project.upgrade(ref="side")
    assert refused.value.log == ("Add later.md",)
    assert project.read("later.md") == "Later\n"

    done = project.upgrade(ref="side", other_branch=True)
    assert done is not None
    assert {"later.md", "side.md"} & project.names() == {"side.md"}


def test_a_conflict_that_is_decided_is_committed_by_git(house: House, project: Project) -> None:
    conflict(house, project)
    project.upgrade()
    marked = project.read("app.py").splitlines(keepends=True)
    project.write("app.py", "".join(line for line in marked if not line.startswith(("<<<<", "====", ">>>>"))))
    git(project.folder, "add", "--all")
    git(project.folder, "-c", "core.editor=true", "cherry-pick", "--continue")
    assert project.status() == ""
    assert "Upgrade the platform" in git(project.folder, "log", "--format=%s", "-1")
    assert {"new.md", "mine.py"} <= project.names()
    assert project.upgrade() is None


def test_a_dry_run_shows_the_same_and_changes_nothing(house: House, project: Project) -> None:
    conflict(house, project)
    before = (git(project.folder, "rev-parse", "HEAD"), git(project.folder, "count-objects"), project.read("app.py"))
    done = project.upgrade(dry_run=True)
    assert done is not None
    assert [(found.file, found.line) for found in done.conflicts] == [("app.py", 6)]
    assert before == (
        git(project.folder, "rev-parse", "HEAD"),
        git(project.folder, "count-objects"),
        project.read("app.py"),
    )
    assert project.status() == ""


def test_a_deleted_file_stays_deleted_and_is_named(house: House, project: Project) -> None:
    git(project.folder, "rm", "--quiet", "unused.md", "guide.md")
    project.commit("Delete")
    house.write("unused.md", "Changed\n")
    house.commit()
    done = project.upgrade()
    assert done is not None
    assert (list(done.conflicts), done.merge.kept_deleted) == ([], ("unused.md",))
    assert not {"unused.md", "guide.md"} & project.names()
    assert project.status() == ""
    # The message has no trace of the conflict that git saw.
    assert "Conflicts" not in git(project.folder, "log", "--format=%B", "-1")


def test_a_change_follows_a_renamed_file(house: House, project: Project) -> None:
    git(project.folder, "mv", "guide.md", "handbook.md")
    project.commit("Rename")
    house.replace("guide.md", "Line 7\n", "Line seven\n")
    house.commit()
    done = project.upgrade()
    assert done is not None
    assert not done.conflicts
    assert "Line seven\n" in project.read("handbook.md")
    assert "guide.md" not in project.names()


def test_a_file_that_the_platform_removes_and_the_project_changed_is_a_conflict(house: House, project: Project) -> None:
    project.write("unused.md", "We do need it\n")
    project.commit()
    git(house.folder, "rm", "--quiet", "unused.md")
    house.commit()
    done = project.upgrade()
    assert done is not None
    assert [(found.file, found.line) for found in done.conflicts] == [("unused.md", None)]
    assert project.read("unused.md") == "We do need it\n"


def test_the_same_change_on_both_sides_is_none(house: House, project: Project) -> None:
    for side in (house, project):
        side.replace("app.py", "return 2", "return 22")
        side.commit()
    done = project.upgrade()
    assert done is not None
    assert not done.conflicts


def test_a_document_that_is_made_is_made_again(house: House, project: Project) -> None:
    project.replace("docs/openapi.json", '"paths": {}', '"paths": {"/mine": {}}')
    project.commit()
    house.replace("docs/openapi.json", '"paths": {}', '"paths": {"/theirs": {}}')
    house.commit()
    done = project.upgrade()
    assert done is not None
    assert (list(done.conflicts), done.merge.outdated) == ([], ("docs/openapi.json",))
    assert json.loads(project.read("docs/openapi.json"))["paths"] == {"/mine": {}}
    assert "make it again: .venv/bin/kpi openapi docs/openapi.json" in "\n".join(report.lines(done, dry_run=False))


def test_what_is_asked_for_later_comes_in(house: House, project: Project) -> None:
    done = project.upgrade(extras=(Extra.BENCH,))
    assert done is not None
    assert project.read("bench/bench.py") == "# The speed of Acme\n"
    assert answers.read(project.folder).extras == {Extra.BENCH}
    assert project.upgrade(extras=(Extra.BENCH,)) is None
    house.replace("bench/bench.py", "speed", "pace")
    house.commit()
    project.upgrade()
    assert project.read("bench/bench.py") == "# The pace of Acme\n"


def test_several_upgrades_follow_each_other_even_when_squashed(house: House, project: Project) -> None:
    for number in ("100", "200"):
        house.replace("app.py", "def two():\n    return ", f"def two():\n    return {number} + ")
        house.commit()
        done = project.upgrade()
        assert done is not None
        assert not done.conflicts
        # As a pull request does it: another commit with the same files.
        git(project.folder, "reset", "--quiet", "--soft", "HEAD~1")
        project.commit("Squashed")
        project.replace("app.py", "def one():\n    return ", f"def one():\n    return {number} + ")
        project.commit()
    assert "return 200 + 100 + 2\n" in project.read("app.py")
    assert "return 200 + 100 + 1\n" in project.read("app.py")


def test_the_source_may_move(house: House, project: Project, tmp_path: Path) -> None:
    house.folder.rename(tmp_path / "moved")
    with pytest.raises(FailureError, match="cannot be cloned"):
        project.upgrade()
    moved = tmp_path / "moved"
    (moved / "new.md").write_text("New\n")
    git(moved, "add", "--all")
    git(moved, "commit", "--quiet", "-m", "new")
    done = project.upgrade(str(moved))
    assert done is not None
    assert not done.conflicts
    assert answers.read(project.folder).source == str(moved)


def test_what_cannot_be_upgraded_is_one_sentence(
    house: House, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = git(house.folder, "rev-parse", "HEAD").strip()
    house.write("new.md", "New\n")
    house.commit()
    project.write("mine.py", "not committed")
    with pytest.raises(FailureError, match="there are changes that are not committed"):
        project.upgrade()
    (project.folder / "mine.py").unlink()

    # The same files, committed in the same second, would be the same commit.
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
    other = House(tmp_path / "other")
    # Made in the same second, its first commit would be the same one.
    git(other.folder, "commit", "--quiet", "--amend", "-m", "Begin another")
    other.write("other.md", "Other\n")
    other.commit()
    with pytest.raises(FailureError, match="does not have the commit that the project was made from"):
        project.upgrade(str(other.folder))
    project.upgrade()
    with pytest.raises(FailureError, match="is older than what is here"):
        project.upgrade(ref=first)
    with pytest.raises(FailureError, match="was not made by kpi new"):
        Project(house.folder).upgrade()
    for text in ("", "- a", "name: acme", "name: {", "name: 1\n_src_path: x\n_commit: y"):
        project.write(".copier-answers.yml", text)
        with pytest.raises(FailureError, match="does not say what the project was made from"):
            project.upgrade()


def test_a_file_that_git_ignores_is_not_overwritten(house: House, project: Project) -> None:
    project.write(".gitignore", "ignored.md\n")
    git(project.folder, "add", ".gitignore")
    git(project.folder, "commit", "--quiet", "-m", "Ignore")
    project.write("ignored.md", "mine\n")
    house.write("ignored.md", "theirs\n")
    house.commit()
    with pytest.raises(FailureError, match=r"the platform adds ignored\.md"):
        project.upgrade()
    assert project.read("ignored.md") == "mine\n"
    assert project.status() == ""


def test_the_command_lists_conflicts_and_how_to_go_on(
    house: House, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_commands.layout, "find", lambda: project.layout)
    conflict(house, project)
    shown = CliRunner().invoke(main.app, ["upgrade", "--dry-run"])
    assert shown.exit_code == 1
    assert "  M app.py\n" in shown.stdout
    assert "cherry-pick" not in shown.stdout

    result = CliRunner().invoke(main.app, ["upgrade"])
    assert result.exit_code == 1
    assert "1 conflict:\n  app.py:6: changed on both sides\n" in result.stdout
    assert "Go on:    decide each of them, then git add -A && git cherry-pick --continue\n" in result.stdout
    assert "Go back:  git cherry-pick --abort\n" in result.stdout

    git(project.folder, "cherry-pick", "--abort")
    found = json.loads(CliRunner().invoke(main.app, ["upgrade", "--json"]).stdout)
    assert found["upgraded"] is False
    assert found["conflicts"] == [{"file": "app.py", "line": 6, "reason": "changed on both sides"}]
    assert found["back"] == "git cherry-pick --abort"


def test_the_command_says_how_to_take_a_merge_back(
    house: House, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_commands.layout, "find", lambda: project.layout)
    before = git(project.folder, "rev-parse", "HEAD").strip()
    house.write("new.md", "New\n")
    house.commit()
    result = CliRunner().invoke(main.app, ["upgrade"])
    assert result.exit_code == 0
    assert "  1 commit; files: 1 new, 1 changed, 0 removed\nNo conflicts.\n" in result.stdout
    assert f"Go back:  git reset --hard {before[:12]}\n" in result.stdout
    assert CliRunner().invoke(main.app, ["upgrade"]).stdout == "kpi: the project is up to date\n"
    assert json.loads(CliRunner().invoke(main.app, ["upgrade", "--json"]).stdout)["upgraded"] is False
