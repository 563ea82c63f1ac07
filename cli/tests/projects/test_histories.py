"""Migrations of a project and of the platform after the same one become one history; the project's come first."""

import subprocess
import sys
from pathlib import Path

import pytest
from kpi_cli import revisions
from kpi_cli.errors import FailureError
from kpi_cli.projects import histories
from project_house import VERSIONS, House, Project, git, migration

SERVICE = "services/content"


def write(folder: Path, name: str, follows: str | None) -> None:
    path = folder / VERSIONS / f"2026_11_27_{name}_x.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(migration(name, follows))


def order(service: Path) -> list[str]:
    """The history as Alembic itself reads it, from the first to the newest."""
    script = (
        "import sys; from alembic.script import ScriptDirectory; "
        "print(*(found.revision for found in ScriptDirectory(sys.argv[1]).walk_revisions()))"
    )
    command = [sys.executable, "-B", "-c", script, str(service / "migrations")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[::-1]


def test_what_comes_in_follows_the_projects_own(house: House, project: Project) -> None:
    write(project.folder, "c501", "c001")
    write(project.folder, "c502", "c501")
    project.commit()
    write(house.folder, "c002", "c001")
    write(house.folder, "c003", "c002")
    house.commit()
    done = project.upgrade()
    assert done is not None
    assert not done.conflicts
    assert [(moved.name, moved.follows) for moved in done.moved] == [("c002", "c502")]
    assert order(project.folder / SERVICE) == ["c001", "c501", "c502", "c002", "c003"]
    assert "Revises: c502" in project.read(f"{VERSIONS}/2026_11_27_c002_x.py")
    assert project.status() == ""

    # The next ones follow what both have by then.
    write(project.folder, "c503", "c003")
    project.commit()
    write(house.folder, "c004", "c003")
    house.commit()
    project.upgrade()
    assert order(project.folder / SERVICE) == ["c001", "c501", "c502", "c002", "c003", "c503", "c004"]


def test_it_is_part_of_a_merge_with_conflicts(house: House, project: Project) -> None:
    write(project.folder, "c501", "c001")
    project.replace("app.py", "return 1", "return 10")
    project.commit()
    write(house.folder, "c002", "c001")
    house.replace("app.py", "return 1", "return 11")
    house.commit()
    done = project.upgrade()
    assert done is not None
    assert [found.file for found in done.conflicts] == ["app.py"]
    assert order(project.folder / SERVICE) == ["c001", "c501", "c002"]
    # It is what will be committed.
    assert f"A  {VERSIONS}/2026_11_27_c002_x.py" in project.status()


def test_a_project_without_its_own_takes_them_as_they_are(house: House, project: Project) -> None:
    write(house.folder, "c002", "c001")
    house.commit()
    done = project.upgrade()
    assert done is not None
    assert done.moved == ()
    assert project.read(f"{VERSIONS}/2026_11_27_c002_x.py") == migration("c002", "c001")


def test_two_of_one_name_are_refused_before_the_merge(house: House, project: Project) -> None:
    write(project.folder, "c002", "c001")
    before = project.commit()
    (house.folder / VERSIONS / "2026_12_01_c002_theirs.py").write_text(migration("c002", "c001"))
    house.commit()
    with pytest.raises(
        FailureError, match=r"2026_11_27_c002_x\.py and a migration of the platform are both named c002"
    ):
        project.upgrade()
    assert git(project.folder, "rev-parse", "HEAD").strip() == before


def test_a_history_that_is_not_one_line_is_for_the_developer(house: House, project: Project) -> None:
    for name in ("c501", "c502"):
        write(project.folder, name, "c001")
    project.commit()
    write(house.folder, "c002", "c001")
    house.commit()
    done = project.upgrade()
    assert done is not None
    (found,) = done.conflicts
    assert (found.file, found.line) == (SERVICE, None)
    assert "c002, c501, c502" in found.reason
    assert "alembic merge" in found.reason


def test_a_migration_with_a_conflict_is_named(house: House, project: Project) -> None:
    name = f"{VERSIONS}/2026_11_20_c001_posts.py"
    project.replace(name, "what it does", "ours")
    project.commit()
    house.replace(name, "what it does", "theirs")
    house.commit()
    done = project.upgrade()
    assert done is not None
    assert [found.file for found in done.conflicts] == [name, SERVICE]


def test_the_form_of_alembics_own_template_is_understood(tmp_path: Path) -> None:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    text = "revision: str = 'c002'\ndown_revision: Union[str, None] = 'c001'\n"
    (versions / "2026_c002.py").write_text(text)
    (versions / "2026_c501.py").write_text('revision = "c501"\ndown_revision = ("c001",)\n')
    (versions / "2026_c001.py").write_text('revision = "c001"\ndown_revision = None\n')
    (versions / "helper.py").write_text("x = 1\n")
    assert histories.join(tmp_path, frozenset({"c002"})) is not None
    assert 'down_revision: Union[str, None] = "c501"' in (versions / "2026_c002.py").read_text()


def test_numbers_of_a_project_begin_above_those_of_the_platform(tmp_path: Path) -> None:
    service = tmp_path / SERVICE
    assert revisions.choose_name(service, is_own_project=False) == "c001"
    write(tmp_path, "c001", None)
    assert revisions.choose_name(service, is_own_project=False) == "c002"
    assert revisions.choose_name(service, is_own_project=True) == "c501"
    write(tmp_path, "c501", "c001")
    write(tmp_path, "c002", "c501")
    assert revisions.choose_name(service, is_own_project=True) == "c502"
    # The newest is not the one with the highest number.
    assert revisions.find_heads(revisions.read(service)) == ["c002"]
