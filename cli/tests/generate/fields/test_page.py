"""The page of fields has a row for each kind, made of the catalogue."""

from pathlib import Path

from kpi_cli.generate.fields.kinds import KINDS

PAGE = Path(__file__).parents[4] / "docs" / "fields.md"


def _rows() -> list[str]:
    rows = ["| kind | PostgreSQL | JSON | rules | example |", "|---|---|---|---|---|"]
    for kind, info in KINDS.items():
        rules = ", ".join(f"`{rule}`" for rule in info.rules) or "none"
        example = info.example.replace("|", "\\|")
        rows.append(f"| `{kind}` | `{info.postgresql}` | {info.json} | {rules} | `{example}` |")
    return rows


def test_the_table_of_kinds_is_the_catalogue() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = lines.index("| kind | PostgreSQL | JSON | rules | example |")
    rows = [line for line in lines[begin:] if line.startswith("|")][: len(KINDS) + 2]
    assert rows == _rows(), "in docs/fields.md, put this in place of the table:\n" + "\n".join(_rows())
