"""The official PASETO v4 and PASERK k4 vectors, including the negative ones (see vectors/README.md)."""

import json
from pathlib import Path
from typing import Any

import pytest
from kpi_shared.key_ring import Purpose, parse_token_key
from kpi_shared.keys import key_id
from kpi_shared.paserk import PaserkType, decode_paserk, encode_paserk, identify
from kpi_shared.tokens import PUBLIC_HEADER, InvalidTokenError, open_sealed, open_signed, split
from paseto.keys.asymmetric_key import AsymmetricSecretKey
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
def test_public_tokens_are_signed_and_verified(name: str) -> None:
    case = CASES[name]
    footer, implicit = case["footer"].encode(), case["implicit-assertion"].encode()
    secret = AsymmetricSecretKey(bytes.fromhex(case["secret-key"]), ProtocolVersion4)
    payload = case["payload"].encode()
    assert ProtocolVersion4.sign(payload, secret, footer=footer, implicit=implicit).decode() == case["token"]
    public = bytes.fromhex(case["public-key"])
    assert open_signed(case["token"], key=public, implicit=implicit) == payload
    assert split(case["token"], PUBLIC_HEADER)[1] == footer
    with pytest.raises(InvalidTokenError):
        open_signed(case["token"], key=public, implicit=implicit + b".")


@pytest.mark.parametrize("name", [name for name in _select("4-F") if "key" in CASES[name]])
def test_invalid_tokens_are_refused(name: str) -> None:
    case: dict[str, Any] = CASES[name]
    with pytest.raises(InvalidTokenError):
        open_sealed(case["token"], key=bytes.fromhex(case["key"]), implicit=case["implicit-assertion"].encode())


@pytest.mark.parametrize("name", [name for name in _select("4-F") if "public-key" in CASES[name]])
def test_a_local_token_is_refused_as_a_public_one(name: str) -> None:
    case = CASES[name]
    with pytest.raises(InvalidTokenError):
        open_signed(case["token"], key=bytes.fromhex(case["public-key"]), implicit=case["implicit-assertion"].encode())


@pytest.mark.parametrize("name", _select("4-S"))
def test_a_public_token_is_refused_as_a_local_one(name: str) -> None:
    with pytest.raises(InvalidTokenError):
        open_sealed(CASES[name]["token"], key=bytes.fromhex(CASES[name]["public-key"]))


@pytest.mark.parametrize("name", IDS)
def test_key_ids(name: str) -> None:
    case = IDS[name]
    key = bytes.fromhex(case["key"])
    if case["expect-fail"]:
        with pytest.raises(ValueError, match="32 bytes"):
            key_id(key)
    else:
        assert key_id(key) == case["paserk"]


def _read_paserk(*names: str) -> dict[str, tuple[PaserkType, dict[str, Any]]]:
    types = {"local": PaserkType.LOCAL, "lid": PaserkType.LOCAL, "secret": PaserkType.SECRET, "sid": PaserkType.SECRET}
    found = {}
    for name in names:
        for case in json.loads((VECTORS / f"k4.{name}.json").read_text())["tests"]:
            found[case["name"]] = (types.get(name, PaserkType.PUBLIC), case)
    return found


KEYS = _read_paserk("local", "public", "secret")
KEY_IDS = _read_paserk("lid", "pid", "sid")


def test_all_key_cases_are_present() -> None:
    assert (len(KEYS), len(KEY_IDS)) == (5 + 4 + 5, 4 + 5 + 4)


@pytest.mark.parametrize("name", KEYS)
def test_keys_as_text(name: str) -> None:
    kind, case = KEYS[name]
    if not case["expect-fail"]:
        assert encode_paserk(kind, bytes.fromhex(case["key"])) == case["paserk"]
        assert decode_paserk(case["paserk"]) == (kind, bytes.fromhex(case["key"]))
        return
    # A case that must not be read, or one that must not be written.
    with pytest.raises(ValueError, match=r"is needed|needs \d+ bytes|has \d+ bytes"):
        decode_paserk(case["paserk"]) if case["paserk"] else encode_paserk(kind, bytes.fromhex(case["key"]))


@pytest.mark.parametrize("name", KEY_IDS)
def test_ids_of_keys_of_each_type(name: str) -> None:
    kind, case = KEY_IDS[name]
    if case["expect-fail"]:
        with pytest.raises(ValueError, match=r"has \d+ bytes"):
            identify(kind, bytes.fromhex(case["key"]))
    else:
        assert identify(kind, bytes.fromhex(case["key"])) == case["paserk"]


@pytest.mark.parametrize("name", KEYS)
def test_no_key_of_the_vectors_is_accepted_in_a_ring(name: str) -> None:
    kind, case = KEYS[name]
    purpose = Purpose.LOCAL if kind is PaserkType.LOCAL else Purpose.PUBLIC
    with pytest.raises(ValueError, match=r"published|distinct|needed|needs"):
        parse_token_key(case["paserk"] or "k3.public.AAAA", purpose)
