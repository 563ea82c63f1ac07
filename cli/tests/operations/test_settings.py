"""``kpi config``: with stand-ins for the parts, and the example files that the real ones describe."""

import json
import subprocess
from pathlib import Path

import pytest
from cli_harness import Checkout
from kpi_cli.layout import Layout
from kpi_cli.operations import settings
from kpi_cli.parts import PARTS, Part

CHECKOUT = Path(__file__).parents[3]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_example_file_is_what_the_settings_say(part: Part) -> None:
    result = subprocess.run(part.command("settings"), capture_output=True, text=True, check=True)
    report = json.loads(result.stdout)
    assert [setting["name"] for setting in report["settings"] if not setting["description"]] == []
    file = CHECKOUT / part.folder / "config" / ".env.example"
    assert file.read_text() == report["example"], "kpi config --init"


def test_settings_are_lines_with_where_they_come_from(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("config", "auth", LOG_FORMAT="console")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "part\tname\tvalue\tfrom\tdefault\ttype\tdescription",
        # This checkout has had no stack, so far as its ports are known.
        "auth\tLOG_FORMAT\tconsole\tthe environment\tjson\ttext\tWhat it does.",
        "auth\tPORT\tx\t/etc/auth/.env\t1\ttext\tWhat it does.",
        "auth\tCOLOUR\tred\tdefault\tred\ttext\tWhat it does.",
    ]
    changed = empty_checkout.kpi("config", "auth", "--changed")
    assert "COLOUR" not in changed.stdout
    assert "PORT" in changed.stdout


def test_what_the_local_stack_sets_is_said_to_be_its_own(empty_checkout: Checkout) -> None:
    """Its ports are known since a command has chosen them; the stand-in prints LOG_FORMAT as it gets it."""
    result = empty_checkout.kpi("config", "--json")
    parts = json.loads(result.stdout)["parts"]
    assert [part["part"] for part in parts] == [part.name for part in PARTS]
    assert {(part["settings"][0]["value"], part["settings"][0]["origin"]) for part in parts} == {
        ("console", "local-stack")
    }
    assert all("example" not in part for part in parts)


def test_a_part_that_cannot_start_is_reported_beside_its_settings(empty_checkout: Checkout) -> None:
    empty_checkout.order("sick-content")
    result = empty_checkout.kpi("config")
    assert result.returncode == 0
    assert result.stderr.splitlines() == ["kpi: content: it cannot start: PORT: must be a port"]
    assert len(result.stdout.splitlines()) == 1 + 3 * len(PARTS)


def test_an_unknown_part_is_one_sentence(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("config", "conten")
    assert result.returncode == 2
    assert "did you mean content?" in result.stderr


def test_example_files_are_written_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "_ask", lambda _, part: {"example": f"# {part.name}\n"})
    layout = Layout(checkout=tmp_path, home=tmp_path / ".kpi")
    settings.write_examples(layout, PARTS, as_json=True)
    written = json.loads(capsys.readouterr().out)["written"]
    assert [Path(name) for name in written] == [tmp_path / part.folder / "config" / ".env.example" for part in PARTS]
    assert Path(written[0]).read_text() == f"# {PARTS[0].name}\n"
    settings.write_examples(layout, PARTS, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"written": []}
