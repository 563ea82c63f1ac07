"""``kpi db revision`` on a copy of this checkout."""

import json
from pathlib import Path

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.generate import revision, scratch
from kpi_cli.layout import Layout, find

MODEL = """
from kpi_content.tables import Table
from sqlalchemy import BigInteger, Column, Text
from sqlmodel import Field


class Wish(Table, table=True):
    __tablename__ = "wishes"

    id: int = Field(sa_column=Column(BigInteger, primary_key=True))
    kept: str | None = Field(sa_type=Text, index=True)
"""


def test_a_migration_is_written_where_the_models_differ(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # No database that is named is asked or migrated.
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@192.0.2.7:1/d")
    with scratch.copy(find().checkout) as root:
        layout = Layout(checkout=root, home=tmp_path / "home")
        folder = root / "services/content/migrations/versions"
        before = set(folder.iterdir())
        revision.write_revision(layout, "content", "nothing", as_json=False)
        assert capsys.readouterr().out == "kpi: content: the models need no migration, and none was written\n"
        assert set(folder.iterdir()) == before

        models = root / "services/content/kpi_content/wishes"
        models.mkdir()
        (models / "__init__.py").touch()
        (models / "models.py").write_text(MODEL)
        revision.write_revision(layout, "content", "add wishes", as_json=True)
        (made,) = set(folder.iterdir()) - before
        output = capsys.readouterr()
        assert json.loads(output.out) == {"service": "content", "files": [str(made.relative_to(root))]}
        text = made.read_text()
        assert text.count("create_table") == 1
        assert "###" not in text
        assert output.err == ""


@pytest.mark.parametrize(
    ("service", "message", "sentence"),
    [
        (None, "x", "a migration is of one service"),
        ("gateway", "x", "it has no database"),
        ("content", " ", "a migration needs a message"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(service: str | None, message: str, sentence: str) -> None:
    with pytest.raises(FailureError, match=sentence) as caught:
        revision.write_revision(find(), service, message, as_json=False)
    assert caught.value.code == 2
