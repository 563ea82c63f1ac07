"""The command and the parts apply the same rules to keys, although neither imports the other."""

import secrets

import pytest
from kpi_cli.keys import problem
from kpi_shared.keys import WeakKeyError, parse_key

BAD = [
    "",
    "s" * 36,
    "ab" * 20,
    "g" * 64,
    "0" * 64,
    "deadbeef" * 8,
    "0123456789abcdef" * 4,
    bytes(range(0x70, 0x90)).hex(),
    bytes([*range(0x70, 0x8F), 0x90]).hex(),
    bytes(range(32)).hex(),
    bytes(range(1, 33)).hex(),
    bytes([*range(15)] * 2 + [0, 1]).hex(),
]


@pytest.mark.parametrize("key", BAD)
def test_both_refuse_the_same_keys(key: str) -> None:
    assert problem(key)
    with pytest.raises(WeakKeyError):
        parse_key(key)


def test_both_accept_a_random_key() -> None:
    key = secrets.token_hex(32)
    assert not problem(key)
    assert parse_key(key).hex() == key
