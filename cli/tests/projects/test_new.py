"""``kpi new``: a project has its own name and one commit, and a failure leaves nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kpi_cli import main, project_commands
from kpi_cli.errors import FailureError
from kpi_cli.projects import answers, creating
from kpi_cli.projects.extras import Extra
from project_house import House, Project, git
from typer.testing import CliRunner


def test_a_project_has_its_own_name_and_one_commit(house: House, project: Project) -> None:
    assert project.read("pyproject.toml") == '[project]\nname = "acme"\n'
    assert project.read("app.py") == house.read("app.py").replace("Platform", "Acme")
    assert project.read("README.md").startswith("# Acme\n")
    # What is not named keeps its text.
    assert '"Platform"' in project.read("docs/openapi.json")
    assert git(project.folder, "log", "--format=%s").splitlines() == [
        f"Make Acme from {git(house.folder, 'rev-parse', '--short', 'HEAD').strip()} of the platform"
    ]
    assert git(project.folder, "symbolic-ref", "--short", "HEAD").strip() == "main"
    assert project.status() == ""
    assert (project.folder / "run").stat().st_mode & 0o111
    assert project.names() == {
        *(house.names() - {"bench/bench.py", "data/posts.jsonl"}),
        ".copier-answers.yml",
    }


def test_the_answers_say_what_it_was_made_from(house: House, project: Project) -> None:
    found = answers.read(project.folder)
    assert found.source == str(house.folder)
    assert found.commit == git(house.folder, "rev-parse", "HEAD").strip()
    assert (found.name, found.slug, found.extras) == ("Acme", "acme", frozenset())


def test_what_is_asked_for_is_there_too(house: House, tmp_path: Path) -> None:
    made = house.make("shop", tmp_path / "shop", Extra.BENCH, Extra.SAMPLE_DATA)
    assert house.names() <= made.names()
    assert made.read("bench/bench.py") == "# The speed of shop\n"


def test_only_what_is_committed_is_in_it(house: House, tmp_path: Path) -> None:
    house.write("secret.txt", "not committed")
    house.replace("app.py", "return 1", "return 10")
    made = creating.create(house.layout, "shop", address=None, ref=None, folder=tmp_path / "shop", extras=frozenset())
    assert made.has_uncommitted
    project = Project(made.folder)
    assert "secret.txt" not in project.names()
    assert "return 1\n" in project.read("app.py")


def test_a_tag_a_branch_or_a_commit_can_be_asked_for(house: House, tmp_path: Path) -> None:
    first = git(house.folder, "rev-parse", "HEAD").strip()
    git(house.folder, "tag", "v1.0")
    git(house.folder, "branch", "stable")
    house.replace("app.py", "return 1", "return 10")
    house.commit()
    for number, ref in enumerate(("v1.0", "stable", first, first[:10])):
        made = house.make("shop", tmp_path / f"shop{number}", ref=ref)
        assert "return 1\n" in made.read("app.py")
    assert "return 10\n" in house.make("shop", tmp_path / "newest").read("app.py")
    with pytest.raises(FailureError, match="has no tag, branch or commit --upload-pack=x"):
        house.make("shop", tmp_path / "none", ref="--upload-pack=x")


def test_a_project_can_be_made_from_a_project(project: Project, tmp_path: Path) -> None:
    second = House.make(project, "Beta", tmp_path / "beta")  # type: ignore[arg-type]
    assert second.read("app.py").startswith('PRODUCT = "Beta"')
    assert answers.read(second.folder).source == str(project.folder)


@pytest.mark.parametrize("name", ["", "a b", "ä", "../up", "-x", "x-", "a--b", "1st", "a_b", "a" * 41, "x\n"])
def test_a_name_is_letters_digits_and_hyphens(house: House, tmp_path: Path, name: str) -> None:
    with pytest.raises(FailureError, match="is not a name for a project") as refused:
        house.make(name, tmp_path / "target")
    assert refused.value.code == 2
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", ["ruff", "Ruff", "kpi-auth"])
def test_the_name_of_an_installed_package_is_refused(house: House, tmp_path: Path, name: str) -> None:
    house.write("requirements-dev.txt", "ruff==0.14.1 \\\n    --hash=sha256:00\n")
    house.commit()
    with pytest.raises(FailureError, match="is the name of a package"):
        house.make(name, tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "platform"]


def test_a_folder_with_files_or_inside_the_checkout_is_refused(house: House, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "link").symlink_to(house.folder / "inside")
    for folder, problem in {
        tmp_path / "full": "exists already",
        tmp_path / "link": "inside this checkout",
        house.folder / "inside": "inside this checkout",
        tmp_path / "no" / "where": "there is no folder",
    }.items():
        with pytest.raises(FailureError, match=problem):
            house.make("shop", folder)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert house.make("shop", tmp_path / "empty").names()


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ('_tasks: ["touch {0}/ran"]', "none of a source is run"),
        ('_migrations: ["touch {0}/ran"]', "none of a source is run"),
        ("_jinja_extensions: [os.path]", "none of a source is run"),
        ("_subdirectory: ../..", "has _subdirectory, and only"),
        ("_preserve_symlinks: true", "has _preserve_symlinks, and only"),
        ("_external_data: {{x: ../../x.yml}}", "has _external_data, and only"),
        ("_min_copier_version: '999'", "cannot be used"),
        ("_exclude: ['{{% for %}}']", "is no path"),
        ("_exclude: ['{{{{ 1 / 0 }}}}']", "is no path"),
        ("_exclude: ['!/.git']", "is no path"),
        ("_exclude: /.git", "is no list"),
    ],
)
# Copier leaves a folder open that it was reading.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_of_a_source_is_run(house: House, tmp_path: Path, entry: str, problem: str) -> None:
    house.write("copier.yml", house.read("copier.yml") + entry.format(tmp_path) + "\n")
    house.commit()
    with pytest.raises(FailureError, match=problem):
        house.make("shop", tmp_path / "shop")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "platform"]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ("places: {../../home/mine: [x]}", "outside the project"),
        ("places: {app.py: [no such text]}", "has no no such text"),
        ("places: [app.py]", "cannot be read"),
        ("other: 1", "cannot be read"),
    ],
)
def test_a_source_that_names_other_files_or_none_is_refused(
    house: House, tmp_path: Path, names: str, problem: str
) -> None:
    (tmp_path / "home" / "mine").write_text("x")
    house.write("copier.yml", f"_names:\n  title: P\n  slug: p\n  {names}\nname: {{type: str}}\n")
    house.commit()
    with pytest.raises(FailureError, match=problem):
        house.make("shop", tmp_path / "shop")
    assert (tmp_path / "home" / "mine").read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "platform"]


def test_what_is_no_source_is_one_sentence(house: House, tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="cannot be cloned") as failure:
        house.make("shop", tmp_path / "shop", address=str(tmp_path / "nothing"))
    assert failure.value.fix.startswith("name a git repository")
    git(house.folder, "rm", "--quiet", "copier.yml")
    house.commit()
    with pytest.raises(FailureError, match="is not a source of projects"):
        house.make("shop", tmp_path / "shop")


def test_a_failure_at_the_end_leaves_nothing(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(creating, "_commit", fail)
    with pytest.raises(OSError, match="the disk is full"):
        house.make("shop", tmp_path / "shop")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "platform"]


def test_the_command_prints_where_the_project_is(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_commands.layout, "find", lambda: house.layout)
    monkeypatch.chdir(house.folder)
    # By default beside the checkout, not inside it.
    result = CliRunner().invoke(main.app, ["new", "Shop", "--json", "--with", "bench"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "name": "Shop",
        "folder": str(tmp_path / "shop"),
        "commit": git(house.folder, "rev-parse", "HEAD").strip(),
        "source": str(house.folder),
    }
    assert (tmp_path / "shop" / "bench").is_dir()


def test_other_commands_do_not_wait_for_copier() -> None:
    script = "import sys, kpi_cli.main; print({'copier', 'yaml'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
