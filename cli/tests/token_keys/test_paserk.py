"""Keys of tokens as texts, against the official vectors."""

import json
from pathlib import Path
from typing import Any

import pytest
from kpi_cli.token_keys import paserk
from kpi_cli.token_keys.paserk import KeyTextError, Purpose

VECTORS = Path(__file__).parents[3] / "shared" / "tests" / "vectors"


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())["tests"]
    return [each for each in found if not each["expect-fail"]]


# The vectors' own keys are published, so decoding them is refused: the ids are computed without that check.
@pytest.fixture(autouse=True)
def accept_known_keys(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "vector" in request.fixturenames:
        monkeypatch.setattr(paserk.keys, "weakness", lambda _: "")


@pytest.mark.parametrize("vector", vectors("k4.lid.json"), ids=lambda each: each["name"])
def test_ids_of_local_keys(vector: dict[str, Any]) -> None:
    assert paserk.key_id(paserk.encode("local", bytes.fromhex(vector["key"]))) == vector["paserk"]


@pytest.mark.parametrize("vector", vectors("k4.pid.json"), ids=lambda each: each["name"])
def test_ids_of_public_keys(vector: dict[str, Any]) -> None:
    assert paserk.key_id(paserk.encode("public", bytes.fromhex(vector["key"]))) == vector["paserk"]


@pytest.mark.parametrize("purpose", Purpose)
def test_a_new_key_is_of_its_purpose_and_has_the_id_of_its_public_half(purpose: Purpose) -> None:
    key = paserk.make(purpose)
    public = paserk.verifying_form(key)
    assert paserk.purpose_of(key) is paserk.purpose_of(public) is purpose
    assert paserk.key_id(key) == paserk.key_id(public)
    assert paserk.KEY_ID.fullmatch(paserk.key_id(key))
    assert (key == public) is (purpose is Purpose.LOCAL)
    assert key.removeprefix("k4.secret.") not in public or purpose is Purpose.LOCAL


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab" * 32,
        "k4.lid.bqltbNc4JLUAmc9Xtpok-fBuI0dQN5_m3CD9W_nbh559",
        "k3.local." + "A" * 43,
        paserk.encode("local", b"x" * 31),
        paserk.encode("local", bytes(range(64, 96))) + "=",
        paserk.encode("local", bytes(32)),
        paserk.encode("local", bytes(range(0x70, 0x90))),
        paserk.encode("secret", bytes(range(32)) + bytes(range(64, 96))),
    ],
)
def test_what_is_no_good_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(KeyTextError) as caught:
        paserk.key_id(text)
    assert not text or text not in str(caught.value)
