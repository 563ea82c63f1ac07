"""The document before other people's linters; what they may say is argued in their settings."""

from pathlib import Path

import pytest
from clients.tools import HERE, ROOT, Language, reason_to_skip, run

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("linter", ["redocly", "spectral"])
def test_a_linter_has_nothing_to_report(linter: str, document: Path) -> None:
    if reason := reason_to_skip(Language.TYPESCRIPT):
        pytest.skip(reason)
    run(HERE / "lint", linter, document, folder=ROOT).require_success()
