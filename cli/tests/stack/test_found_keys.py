from pathlib import Path

import pytest
from kpi_cli.layout import Layout
from kpi_cli.stack import found_keys


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("PASETO_SECRET_KEY=", []),
        ('PASETO_SECRET_KEY=""', []),
        ("PASETO_SECRET_KEY=abc # ours", ["abc"]),
        ("export PASETO_SECRET_KEY = 'abc'", ["abc"]),
        ("AUTH_SECRET_KEY=abc", ["abc"]),
    ],
)
@pytest.mark.parametrize("part", ["services/auth", "gateway"])
def test_key_in_a_settings_file_ends_with_its_line(tmp_path: Path, part: str, line: str, found: list[str]) -> None:
    folder = tmp_path / part / "config"
    folder.mkdir(parents=True)
    (folder / ".env").write_text(f"DEBUG=false\n{line}\n\n# A comment.\nLOG_LEVEL=INFO\n")
    layout = Layout(checkout=tmp_path, home=tmp_path)
    assert [each.key for each in found_keys.of_settings(layout)] == found


def test_a_byte_order_mark_does_not_hide_the_first_line(tmp_path: Path) -> None:
    folder = tmp_path / "gateway" / "config"
    folder.mkdir(parents=True)
    (folder / ".env").write_text("PASETO_SECRET_KEY=abc\n", encoding="utf-8-sig")
    assert [each.key for each in found_keys.of_settings(Layout(checkout=tmp_path, home=tmp_path))] == ["abc"]
