"""The official PASETO v4 and PASERK k4.lid vectors, including the negative ones (see vectors/README.md)."""

import json
from pathlib import Path
from typing import Any

import pytest
from kpi_shared.keys import key_id
from kpi_shared.tokens import InvalidTokenError, open_sealed, split
from paseto.exceptions import PasetoException
from paseto.keys.asymmetric_key import AsymmetricPublicKey, AsymmetricSecretKey
from paseto.keys.symmetric_key import SymmetricKey
from paseto.protocols.v4 import ProtocolVersion4

VECTORS = Path(__file__).parent / "vectors"
CASES = {case["name"]: case for case in json.loads((VECTORS / "v4.json").read_text())["tests"]}
IDS = {case["name"]: case for case in json.loads((VECTORS / "k4.lid.json").read_text())["tests"]}


def _select(prefix: str) -> list[str]:
    return [name for name in CASES if name.startswith(prefix)]


def test_all_cases_are_present() -> None:
    assert len(CASES) == 17
    assert len(_select("4-E")) + len(_select("4-S") + _select("4-F")) == 17


@pytest.mark.parametrize("name", _select("4-E"))
def test_local_tokens_can_be_opened(name: str) -> None:
    case = CASES[name]
    key, implicit = bytes.fromhex(case["key"]), case["implicit-assertion"].encode()
    assert open_sealed(case["token"], key=key, implicit=implicit).decode() == case["payload"]
    assert split(case["token"])[1].decode() == case["footer"]


@pytest.mark.parametrize("name", _select("4-E"))
def test_sealing_gives_the_tokens_of_the_vectors(name: str) -> None:
    case = CASES[name]
    sealed = ProtocolVersion4._encrypt(
        case["payload"].encode(),
        SymmetricKey(bytes.fromhex(case["key"]), ProtocolVersion4),
        footer=case["footer"].encode(),
        implicit=case["implicit-assertion"].encode(),
        _nonce_for_unit_testing=bytes.fromhex(case["nonce"]),
    )
    assert sealed.decode() == case["token"]


@pytest.mark.parametrize("name", _select("4-S"))
def test_the_library_signs_and_verifies_public_tokens(name: str) -> None:
    """The platform mints local tokens only, but the library supports both."""
    case = CASES[name]
    footer, implicit = case["footer"].encode(), case["implicit-assertion"].encode()
    secret = AsymmetricSecretKey(bytes.fromhex(case["secret-key"]), ProtocolVersion4)
    public = AsymmetricPublicKey(bytes.fromhex(case["public-key"]), ProtocolVersion4)
    payload = case["payload"].encode()
    assert ProtocolVersion4.sign(payload, secret, footer=footer, implicit=implicit).decode() == case["token"]
    assert ProtocolVersion4.verify(case["token"].encode(), public, implicit=implicit) == payload


@pytest.mark.parametrize("name", [name for name in _select("4-F") if "key" in CASES[name]])
def test_invalid_tokens_are_refused(name: str) -> None:
    case: dict[str, Any] = CASES[name]
    with pytest.raises(InvalidTokenError):
        open_sealed(case["token"], key=bytes.fromhex(case["key"]), implicit=case["implicit-assertion"].encode())


@pytest.mark.parametrize("name", [name for name in _select("4-F") if "public-key" in CASES[name]])
def test_a_local_token_is_refused_as_a_public_one(name: str) -> None:
    case = CASES[name]
    public = AsymmetricPublicKey(bytes.fromhex(case["public-key"]), ProtocolVersion4)
    with pytest.raises(PasetoException):
        ProtocolVersion4.verify(case["token"].encode(), public, implicit=case["implicit-assertion"].encode())


@pytest.mark.parametrize("name", IDS)
def test_key_ids(name: str) -> None:
    case = IDS[name]
    key = bytes.fromhex(case["key"])
    if case["expect-fail"]:
        with pytest.raises(ValueError, match="32 bytes"):
            key_id(key)
    else:
        assert key_id(key) == case["paserk"]
