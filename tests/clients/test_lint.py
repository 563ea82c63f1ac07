"""Redocly and Spectral report nothing on the document. Their settings give a reason for each rule that is off."""

from pathlib import Path

import pytest
from clients.tools import HERE, ROOT, Language, reason_to_skip, run

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("linter", ["redocly", "spectral"])
def test_linter_reports_nothing(linter: str, document: Path) -> None:
    if reason := reason_to_skip(Language.TYPESCRIPT):
        pytest.skip(reason)
    run(HERE / "lint", linter, document, folder=ROOT).require_success()
