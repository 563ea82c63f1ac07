"""``kpi migrate downgrade`` and ``kpi migrate new`` on a copy of auth's real migrations and a database of their own."""

import shutil
from pathlib import Path

import psycopg
import pytest
from kpi_cli import parts
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout, find
from kpi_cli.operations import part_commands
from kpi_shared.testing.postgres import create_database

FOLDER = "services/auth"


@pytest.fixture
def url(worker: str, secret_key: str, monkeypatch: pytest.MonkeyPatch) -> str:
    url = create_database(f"cli_migrate_{worker}")
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("PASETO_SECRET_KEY", secret_key)
    return url


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    checkout = tmp_path / "an odd $name"
    source = find().checkout / FOLDER
    shutil.copytree(source / "migrations", checkout / FOLDER / "migrations")
    shutil.copy(source / "alembic.ini", checkout / FOLDER)
    return Layout(checkout=checkout, home=checkout / ".kpi")


def revisions(layout: Layout) -> list[str]:
    return sorted(
        file.name.split("_")[3] for file in (layout.checkout / FOLDER / "migrations" / "versions").glob("*.py")
    )


def revision(url: str) -> str | None:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else None


def test_migrations_are_undone_and_new_ones_written(url: str, layout: Layout) -> None:
    *_, before, newest = revisions(layout)
    part_commands.migrate(layout, ["auth"], None)
    assert revision(url) == newest
    part_commands.migrate(layout, ["downgrade", "auth"], None)
    assert revision(url) == before
    part_commands.migrate(layout, ["downgrade", "auth", "base"], None)
    assert revision(url) is None

    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE added_by_hand (id bigint PRIMARY KEY)")
    part_commands.migrate(layout, ["new", "auth"], "Drop what was added")
    # The database was brought to the newest migration first, and the new one has the next number.
    assert revision(url) == newest
    (made,) = (layout.checkout / FOLDER / "migrations" / "versions").glob("*drop_what_was_added.py")
    assert made.name.split("_")[3] == f"a{int(newest[1:]) + 1:03}"
    assert "op.drop_table('added_by_hand')" in made.read_text().replace('"', "'")
    assert f"down_revision = '{newest}'" in made.read_text().replace('"', "'").replace(": str | None", "")


@pytest.mark.parametrize(
    ("words", "message", "problem", "fix"),
    [
        (["downgrade"], None, "the name of one is required", "kpi migrate downgrade auth -1"),
        (["new"], "add bios", "the name of one is required", 'kpi migrate new auth -m "..."'),
        (["new", "auth"], None, "a new migration needs a message", 'kpi migrate new auth -m "add bios"'),
        (["new", "content"], " ", "a new migration needs a message", 'kpi migrate new content -m "add bios"'),
        ([], "add bios", "-m is only for: migrate new", 'kpi migrate new auth -m "add bios"'),
        (["auth"], "add bios", "-m is only for: migrate new", 'kpi migrate new auth -m "add bios"'),
        (["auth", "content"], None, "unexpected argument: content", "kpi migrate --help"),
        (["downgrade", "auth", "-1", "x"], None, "unexpected argument: x", "kpi migrate --help"),
        (["downgrade", "auth", "--sql"], None, "--sql is not a revision", "-2, or base"),
        (["downgrade", "gateway"], None, "it has no database", ""),
        (
            ["upgrade"],
            None,
            f"neither a service ({parts.join_names(parts.WITH_DATABASE, 'or')}) nor downgrade or new",
            "kpi migrate --help",
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    layout: Layout, words: list[str], message: str | None, problem: str, fix: str
) -> None:
    with pytest.raises(FailureError) as caught:
        part_commands.migrate(layout, words, message)
    assert problem in caught.value.sentence
    assert caught.value.fix.endswith(fix)
    assert caught.value.code == 2


@pytest.mark.usefixtures("url")
def test_a_percent_sign_in_the_path_is_one_sentence(layout: Layout, tmp_path: Path) -> None:
    # Alembic's configuration takes it for the beginning of a variable.
    moved = layout.checkout.rename(tmp_path / "50% odd")
    with pytest.raises(FailureError, match="a percent sign in its name"):
        part_commands.migrate(Layout(checkout=moved, home=moved / ".kpi"), ["downgrade", "auth"], None)
