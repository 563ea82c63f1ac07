"""SQL outside repositories is found, however it is imported, and SQL inside them is not."""

import subprocess
import sys
from pathlib import Path

import pytest
from kpi_shared.testing.check_sql import check_file, main

BAD = {
    "a name": "from sqlalchemy import select\nfound = select(1)",
    "an alias": "from sqlalchemy import text as t\nfound = t('SELECT 1')",
    "a module": "import sqlalchemy\nfound = sqlalchemy.text('SELECT 1')",
    "a module's alias": "import sqlalchemy as sa\nfound = sa.text('SELECT 1')",
    "a submodule": "import sqlalchemy.dialects.postgresql\nfound = sqlalchemy.dialects.postgresql.insert(table)",
    "a submodule's alias": "import sqlalchemy.dialects.postgresql as pg\nfound = pg.insert(table)",
    "a submodule's name": "from sqlalchemy.dialects import postgresql\nfound = postgresql.insert(table)",
    "a dialect's name": "from sqlalchemy.dialects.postgresql import insert\nfound = insert(table)",
    "sqlmodel": "from sqlmodel import delete\nfound = delete(table)",
    "not called": "from sqlalchemy import update\nfound = update",
    "inside a function": "def f():\n    from sqlalchemy import select; return select(1)",
    "a string": "\nawait connection.execute('SELECT 1')",
    "an f-string": "\nawait connection.execute(f'SELECT {column}')",
    "a sum": "\nawait connection.execute('SELECT ' + column)",
    "bytes": "\nawait cursor.execute(b'SELECT 1')",
    "the driver": "\nconnection.exec_driver_sql('SELECT 1')",
    "a copy": "\nasync with cursor.copy('COPY posts FROM STDIN') as copy: pass",
}
GOOD = {
    "another library's name": "from rich import text\nfound = text('SELECT 1')",
    "a function of the module": "def select(value): return value\nfound = select(1)",
    "a statement by name": "await connection.execute(repository.STATEMENT, {})",
    "types and predicates": "from sqlalchemy import Select, and_, func\nfound = and_(func.now())",
    "an HTTP client's method": "found = client.stream('GET', 'http://127.0.0.1')",
    "another object's method": "found = row.update(other).select(1)",
}


@pytest.fixture
def service(tmp_path: Path) -> Path:
    return tmp_path / "service"


def write(service: Path, name: str, source: str) -> Path:
    path = service / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


@pytest.mark.parametrize("source", BAD.values(), ids=BAD)
def test_sql_outside_of_a_repository_is_found_at_its_line(
    service: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    path = write(service, "posts/service.py", source)
    assert main([str(service)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}:2: ")
    assert line.endswith("move the statement to a *repository.py.")


@pytest.mark.parametrize("source", GOOD.values(), ids=GOOD)
def test_what_makes_no_sql_passes(service: Path, source: str) -> None:
    write(service, "posts/service.py", source)
    assert main([str(service)]) == 0


@pytest.mark.parametrize(
    "name",
    [
        "posts/repository.py",
        "posts/imports_repository.py",
        "accounts/repository/reading.py",
        "migrations/versions/one.py",
        "tests/posts/test_posts.py",
    ],
)
def test_repositories_may_hold_sql_and_migrations_and_tests_are_not_read(service: Path, name: str) -> None:
    for source in BAD.values():
        write(service, name, source)
        assert main([str(service)]) == 0


def test_models_may_use_text_for_defaults_and_nothing_else(service: Path) -> None:
    path = write(service, "posts/models.py", BAD["a module's alias"])
    assert check_file(path) == []
    write(service, "posts/models.py", BAD["a name"])
    assert [finding.line for finding in check_file(path)] == [2]


def test_a_folder_that_does_not_exist_is_an_error(service: Path) -> None:
    with pytest.raises(SystemExit, match="is not a folder"):
        main([str(service)])


def test_the_command_exits_with_1_and_names_every_place(service: Path) -> None:
    write(service, "a.py", BAD["a name"] + "\nsecond = select(2)")
    write(service, "b.py", BAD["a string"])
    command = [sys.executable, "-m", "kpi_shared.testing.check_sql", str(service)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    places = [line.partition(": ")[0] for line in result.stderr.splitlines()]
    assert places == [f"{service}/a.py:2", f"{service}/a.py:3", f"{service}/b.py:2"]
