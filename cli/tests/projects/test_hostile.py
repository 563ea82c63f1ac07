"""``kpi new`` and ``kpi upgrade`` from a source that was made to harm: nothing of it is run or written elsewhere."""

import os
import sys
from pathlib import Path

import pytest
from kpi_cli import main, project_commands
from kpi_cli.errors import FailureError
from kpi_cli.projects import creating, traps
from project_house import House, Project, git


def take_exclusions_away(house: House) -> None:
    text = house.read("copier.yml")
    house.write("copier.yml", f"_exclude: []\n{text[text.index('_names:') :]}")


def link(house: House, name: str, target: str) -> None:
    (house.folder / name).unlink(missing_ok=True)
    (house.folder / name).symlink_to(target)
    house.commit()


@pytest.mark.parametrize("name", ["{{'.git'}}", "{{ '.g' ~ 'it' }}", "{% if true %}.git{% endif %}"])
def test_no_hook_of_a_source_is_run(house: House, tmp_path: Path, name: str) -> None:
    take_exclusions_away(house)
    for hook in ("post-commit", "reference-transaction", "post-index-change"):
        house.write(f"{name}/hooks/{hook}", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (house.folder / name / "hooks" / hook).chmod(0o755)
    house.commit()
    with pytest.raises(FailureError, match="is a template"):
        house.make("shop", tmp_path / "shop")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "platform"]


@pytest.mark.parametrize(
    "name", [".git", ".GIT", "a/.Git", "git~1", "GIT~1", ".git.", ".git ", ".git::$DATA", ".g\u200cit"]
)
def test_no_name_of_gits_own_folder_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "hooks").mkdir(parents=True)
    with pytest.raises(FailureError, match="would belong to git's own folder"):
        traps.refuse_files(tmp_path)


def test_names_that_only_begin_as_gits_are_accepted(tmp_path: Path) -> None:
    for name in (".gitignore", ".github", "git", "x.git", "git~10"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("git")
    traps.refuse_files(tmp_path)


def test_the_repository_is_made_where_no_file_is(tmp_path: Path, house: House) -> None:
    """Even a folder that has passed all checks has no say in how git makes its commit."""
    files = tmp_path / "files"
    (files / ".git" / "hooks").mkdir(parents=True)
    (files / "app.py").touch()
    hook = files / ".git" / "hooks" / "post-commit"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with pytest.raises(OSError, match="not empty"):
        creating._commit(tmp_path / "repository", files, "Make it")
    assert not (tmp_path / "ran").exists()


def test_a_hook_of_the_users_templates_is_not_run(house: House, tmp_path: Path) -> None:
    hooks = tmp_path / "home" / "hooks"
    hooks.mkdir()
    (hooks / "post-commit").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "post-commit").chmod(0o755)
    (tmp_path / "home" / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
    house.make("shop", tmp_path / "shop")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["README.md", ".copier-answers.yml", "notes.md", "pyproject.toml"])
@pytest.mark.parametrize("target", ["{}/home/mine", "../home/mine"])
def test_no_symbolic_link_leads_out_of_a_new_project(house: House, tmp_path: Path, name: str, target: str) -> None:
    (tmp_path / "home" / "mine").write_text("mine")
    take_exclusions_away(house)
    link(house, name, target.format(tmp_path))
    with pytest.raises(FailureError, match="leads out of the project"):
        house.make("shop", tmp_path / "shop")
    assert (tmp_path / "home" / "mine").read_text() == "mine"
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("name", ["README.md", ".copier-answers.yml"])
def test_no_symbolic_link_leads_out_of_an_upgrade(house: House, project: Project, tmp_path: Path, name: str) -> None:
    (tmp_path / "home" / "mine").write_text("mine")
    take_exclusions_away(house)
    link(house, name, str(tmp_path / "home" / "mine"))
    for dry_run in (True, False):
        with pytest.raises(FailureError, match="leads out of the project"):
            project.upgrade(dry_run=dry_run)
    assert (tmp_path / "home" / "mine").read_text() == "mine"
    assert project.status() == ""


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    traps.replace(tmp_path / "link", b"new")
    assert ((tmp_path / "mine").read_text(), (tmp_path / "link").read_text()) == ("mine", "new")
    assert not (tmp_path / "link").is_symlink()


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(FailureError, match="leads out"):
        traps.refuse_files(tmp_path)


@pytest.mark.parametrize("tag", ["$(reboot)", "`reboot`", "v1|sh", "v1\u202egpj"])
def test_a_version_has_no_other_signs_than_those_of_a_version(house: House, tmp_path: Path, tag: str) -> None:
    git(house.folder, "tag", "-a", "-m", "x", tag)
    commit = git(house.folder, "rev-parse", "HEAD").strip()
    made = house.make("shop", tmp_path / "shop")
    assert f"at `{commit[:12]}`." in made.read("README.md")
    assert git(made.folder, "log", "--format=%s").strip() == f"Make shop from {commit[:12]} of the platform"


def test_names_of_files_are_no_commands_to_the_terminal(
    house: House, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(project_commands.layout, "find", lambda: project.layout)
    for number, name in enumerate(("x\x1b]0;title\x07", "x\x9b2J", os.fsdecode(b"x\xff"))):
        house.write(f"{name}.md", str(number))
    house.commit("Say \x1b[2J this")
    monkeypatch.setattr(sys, "argv", ["kpi", "upgrade", "--dry-run"])
    main.app(standalone_mode=False)
    shown = capsys.readouterr().out
    assert "  A x\ufffd]0;title\ufffd.md\n" in shown
    assert "  A x?.md\n" in shown
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    project.upgrade()
    assert "- Say \ufffd[2J this\n" in git(project.folder, "log", "--format=%B", "-1")


def test_a_refusal_is_no_command_to_the_terminal(
    house: House, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_commands.layout, "find", lambda: project.layout)
    house.write("{{x}}\x1b[2J", "x")
    house.commit()
    with pytest.raises(FailureError) as refused:
        project_commands.upgrade(dry_run=True)
    assert "{{x}}\ufffd[2J is a template" in "\n".join(refused.value.lines())
    project.write("\x1b[2J.md", "x")
    house.write("\x1b[2J.md", "x")
    git(house.folder, "rm", "--quiet", "{{x}}\x1b[2J")
    house.commit()
    (project.folder / ".git" / "info" / "exclude").write_text("*.md\n")
    with pytest.raises(FailureError, match="the platform adds \ufffd"):
        project_commands.upgrade(dry_run=True)
