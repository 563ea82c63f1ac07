from pathlib import Path

import pytest
from kpi_cli import found_keys, keys
from kpi_cli.layout import Layout


def test_new_keys_are_good_and_different() -> None:
    made = {keys.new() for _ in range(50)}
    assert len(made) == 50
    assert {keys.problem(key) for key in made} == {""}


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "64 hex digits needed, got 0 characters"),
        ("k" * 36, "64 hex digits needed, got 36 characters"),
        ("a" * 63 + "g", "64 hex digits needed, got 64 characters with others among them"),
        ("0" * 64, "it is all zeros"),
        ("ab" * 32, "it repeats a short pattern"),
        ("deadbeef" * 8, "it repeats a short pattern"),
        (bytes(range(0x70, 0x90)).hex(), "it is a key of published examples"),
        ("0123456789ABCDEF" * 4, "it repeats a short pattern"),
        ((bytes(17) + bytes(range(15))).hex(), "it is made of very few different bytes"),
    ],
)
def test_weak_and_malformed_keys_are_named(key: str, problem: str) -> None:
    assert keys.problem(key) == problem


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("PASETO_SECRET_KEY=", []),
        ('PASETO_SECRET_KEY=""', []),
        ("PASETO_SECRET_KEY=abc # ours", ["abc"]),
        ("export PASETO_SECRET_KEY = 'abc'", ["abc"]),
    ],
)
@pytest.mark.parametrize("part", ["services/auth", "gateway"])
def test_key_in_a_settings_file_ends_with_its_line(tmp_path: Path, part: str, line: str, found: list[str]) -> None:
    folder = tmp_path / part / "config"
    folder.mkdir(parents=True)
    (folder / ".env").write_text(f"DEBUG=false\n{line}\n\n# A comment.\nLOG_LEVEL=INFO\n")
    layout = Layout(checkout=tmp_path, home=tmp_path)
    assert [each.key for each in found_keys.of_settings(layout)] == found
