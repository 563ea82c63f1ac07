"""``kpi openapi`` with stand-ins for the parts, none of them running."""

import json

import pytest
from cli_harness import Checkout
from kpi_cli.parts import SERVICES

MERGED = {"merged": {part.name: {"openapi": "3.1.0", "title": f"{part.name} é"} for part in SERVICES}}


def test_the_merged_document_is_printed_or_written_and_nothing_is_started(empty_checkout: Checkout) -> None:
    file = empty_checkout.folder / "openapi.json"
    printed = empty_checkout.kpi("openapi")
    written = empty_checkout.kpi("openapi", str(file))
    assert printed.returncode == written.returncode == 0, printed.stderr + written.stderr
    assert json.loads(printed.stdout) == MERGED
    assert file.read_text(encoding="utf-8") == printed.stdout
    assert printed.stdout.endswith("}\n")
    assert "auth é" in printed.stdout
    assert written.stdout == ""
    assert sorted(empty_checkout.home.iterdir()) == [empty_checkout.home / "ports.json"]


def test_check_accepts_the_file_that_was_written_and_changes_no_other(empty_checkout: Checkout) -> None:
    file = empty_checkout.folder / "openapi.json"
    missing = empty_checkout.kpi("openapi", "--check", str(file))
    made_by_check = file.exists()
    empty_checkout.kpi("openapi", str(file))
    current = empty_checkout.kpi("openapi", "--check", str(file))
    file.write_text(file.read_text(encoding="utf-8").replace("auth é", "auth"), encoding="utf-8")
    stale = empty_checkout.kpi("openapi", "--check", str(file))
    assert missing.returncode == 1
    assert missing.stderr.splitlines()[0] == f"kpi: openapi: {file} does not exist"
    assert not made_by_check
    assert current.returncode == 0, current.stderr
    assert stale.returncode == 1
    assert stale.stderr.splitlines() == [
        f"kpi: openapi: {file} is not up to date",
        f"  Fix: .venv/bin/kpi openapi {file}",
    ]
    assert "auth é" not in file.read_text(encoding="utf-8")


def test_check_without_a_file_is_one_sentence(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("openapi", "--check")
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == "kpi: openapi: --check needs a FILE"


@pytest.mark.parametrize("part", ["content", "gateway"])
@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ("broken", "openapi ended with exit code 1"),
        ("bad", "openapi did not print a JSON document"),
    ],
)
def test_a_part_that_fails_is_named_and_no_file_is_written(
    empty_checkout: Checkout, part: str, order: str, problem: str
) -> None:
    empty_checkout.order(f"{order}-openapi-{part}")
    file = empty_checkout.folder / "openapi.json"
    result = empty_checkout.kpi("openapi", str(file))
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == f"kpi: {part}: {problem}"
    assert (f"  {part} | kpi-stand-in: there is no document" in result.stderr) == (order == "broken")
    assert "Traceback" not in result.stderr
    assert not file.exists()
