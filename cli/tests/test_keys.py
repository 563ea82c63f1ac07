import pytest
from kpi_cli import keys


def test_new_keys_are_good_and_different() -> None:
    made = {keys.generate() for _ in range(50)}
    assert len(made) == 50
    assert {keys.problem(key) for key in made} == {""}


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "64 hex digits are required, but it has 0 characters"),
        ("k" * 36, "64 hex digits are required, but it has 36 characters"),
        ("a" * 63 + "g", "64 hex digits are required, but it contains other characters"),
        ("0" * 64, "it is all zeros"),
        ("ab" * 32, "it repeats a short pattern"),
        ("deadbeef" * 8, "it repeats a short pattern"),
        (bytes(range(0x70, 0x90)).hex(), "it is a key from published examples"),
        ("0123456789ABCDEF" * 4, "it repeats a short pattern"),
        ((bytes(17) + bytes(range(15))).hex(), "it has very few different bytes"),
    ],
)
def test_weak_and_malformed_keys_are_named(key: str, problem: str) -> None:
    assert keys.problem(key) == problem
