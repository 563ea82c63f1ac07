"""The page of fields has a row for each kind, made of the catalogue."""

import keyword
from pathlib import Path

from kpi_cli.generate.fields.kinds import KINDS
from kpi_cli.generate.fields.words import CLASS_ATTRIBUTES, TAKEN_BY_RESOURCES

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


def test_the_table_of_names_has_all_that_are_refused() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = lines.index("| refused, since it is used by | names |") + 2
    rows = [line for line in lines[begin : begin + 3] if line.startswith("|")]
    expected = [
        f"| {user} | {', '.join(f'`{name}`' for name in sorted(names))} |"
        for user, names in (
            ("each resource, its list or its classes", TAKEN_BY_RESOURCES),
            ("pydantic, as all that begins with `model_` is", {*CLASS_ATTRIBUTES} - {*TAKEN_BY_RESOURCES}),
            (
                "Python, and from 3.12 `type`",
                {*keyword.kwlist, *keyword.softkwlist} - {"False", "None", "True", "_", "type"},
            ),
        )
    ]
    assert rows == expected, "in docs/fields.md, put this in place of the table:\n" + "\n".join(expected)
