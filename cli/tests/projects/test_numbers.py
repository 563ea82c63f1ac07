"""What a project numbers itself, the platform will never number the same."""

from pathlib import Path

import pytest
from kpi_cli.generate import service
from kpi_cli.generate.service import NewService
from kpi_cli.layout import ANSWERS
from kpi_cli.parts import SERVICES


@pytest.mark.parametrize(
    ("known", "is_project", "expected"),
    [
        (["0050-retries.md"], False, "0051-auth-service.md"),
        (["0050-retries.md"], True, "1001-auth-service.md"),
        (["0050-retries.md", "1001-ours.md"], True, "1002-auth-service.md"),
        (["0050-retries.md", "0051-auth-service.md"], True, "0051-auth-service.md"),
        ([], False, "0001-auth-service.md"),
    ],
)
def test_decisions_of_a_project_are_numbered_from_1001(
    tmp_path: Path, known: list[str], is_project: bool, expected: str
) -> None:
    folder = tmp_path / "docs" / "adr"
    folder.mkdir(parents=True)
    for name in known:
        (folder / name).touch()
    if is_project:
        (tmp_path / ANSWERS).touch()
    new = NewService(part=SERVICES[0], checkout=tmp_path)
    assert service._find_decision(new) == f"docs/adr/{expected}"
