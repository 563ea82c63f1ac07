"""What Crypt and its fake have in common."""

import base64
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from kpi_kit.crypt import (
    Crypt,
    CryptFake,
    CryptValueError,
    InvalidCiphertextError,
    InvalidKeyError,
    derive_key,
    generate_key,
)
from pydantic import JsonValue, SecretStr

OLD, NEW = generate_key(), generate_key()
MAKERS: dict[str, Callable[[], Crypt]] = {"aes-256-gcm": lambda: Crypt({"2026": NEW, "2025": OLD}), "fake": CryptFake}
SECRET = "the secret of bees"


@pytest.fixture(params=MAKERS)
def crypt(request: pytest.FixtureRequest) -> Crypt:
    return MAKERS[request.param]()


@pytest.mark.parametrize("data", [b"", b"\0", b"x" * 1_000_000], ids=len)
async def test_what_is_encrypted_is_decrypted(crypt: Crypt, data: bytes) -> None:
    async with crypt:
        text = crypt.encrypt(data)
        assert crypt.decrypt(text) == data
        # A nonce of its own each time.
        assert crypt.encrypt(data) != text
        assert text.isascii()
        assert len(text) < len(data) * 4 / 3 + 80
        assert not crypt.needs_reencryption(text)


@pytest.mark.parametrize("value", [None, True, 1.5, "é\U0001f41d", "\ud800", [1, [2]], {"a": {"b": None}}, ""])
def test_any_json_value_comes_back(crypt: Crypt, value: JsonValue) -> None:
    assert crypt.decrypt_json(crypt.encrypt_json(value)) == value


def test_what_is_no_json_is_no_valid_value(crypt: Crypt) -> None:
    with pytest.raises(InvalidCiphertextError):
        crypt.decrypt_json(crypt.encrypt(b"{"))
    with pytest.raises(InvalidCiphertextError):
        crypt.decrypt_json(crypt.encrypt(b"[" * 100_000))
    endless: list[JsonValue] = []
    endless.append(endless)
    no_json: Any = object()
    for value in (float("nan"), no_json, endless):
        with pytest.raises(CryptValueError):
            crypt.encrypt_json(value)


def test_a_value_belongs_to_its_associated_data(crypt: Crypt) -> None:
    text = crypt.encrypt(b"+41", associated_data=b"users.phone:42")
    assert crypt.decrypt(text, associated_data=b"users.phone:42") == b"+41"
    for other in (b"", b"users.phone:43", b"users.phone:4"):
        with pytest.raises(InvalidCiphertextError):
            crypt.decrypt(text, associated_data=other)


def test_no_changed_character_goes_unnoticed(crypt: Crypt) -> None:
    text = crypt.encrypt(b"a value")
    changed = [text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :] for at in range(len(text))]
    for each in [*changed, text[:-1], text + "A", text + "=", text + "\n", f" {text}", text.replace("kpi1.", "kpi2.")]:
        with pytest.raises(InvalidCiphertextError):
            crypt.decrypt(each)


@pytest.mark.parametrize(
    "text", ["", "kpi1.", "kpi1.AA", "kpi1.____", "kpi1.é", "kpi1." + "A" * 100, "gAAAAA", "e30=", "eyJ", "nothing"]
)
def test_what_is_no_encrypted_value_is_refused_in_the_same_words(crypt: Crypt, text: str) -> None:
    for work in (crypt.decrypt, crypt.needs_reencryption, crypt.reencrypt, crypt.decrypt_json):
        with pytest.raises(InvalidCiphertextError) as raised:
            work(text)
        assert str(raised.value) == "the encrypted value is not valid"
        assert raised.value.__cause__ is None


def test_a_ring_decrypts_with_all_its_keys_and_encrypts_with_the_first() -> None:
    before, between, after = Crypt({"2025": OLD}), Crypt({"2026": NEW, "2025": OLD}), Crypt({"2026": NEW})
    text = before.encrypt(b"a value", associated_data=b"of a row")
    assert not before.needs_reencryption(text)
    assert between.needs_reencryption(text)
    again = between.reencrypt(text, associated_data=b"of a row")
    assert not between.needs_reencryption(again)
    assert after.decrypt(again, associated_data=b"of a row") == b"a value"
    with pytest.raises(InvalidCiphertextError):
        after.decrypt(text, associated_data=b"of a row")
    # The same id with another key.
    with pytest.raises(InvalidCiphertextError):
        Crypt({"2025": NEW}).decrypt(text, associated_data=b"of a row")


def test_no_error_and_no_repr_has_a_key_or_a_value_in_it() -> None:
    key = base64.b64encode(SECRET.encode()).decode()
    zeros = base64.b64encode(bytes(32)).decode()
    for keys in ({"k": zeros}, {"k": key}, {"k": SecretStr(key)}, {"k": "ü" + key}, {key * 2: generate_key()}, {}):
        with pytest.raises(InvalidKeyError) as raised:
            Crypt(keys)
        assert key not in str(raised.value)
        assert raised.value.__cause__ is None
    for form in ({"fernet_keys": [key]}, {"cbc_keys": [SecretStr(key)]}):
        with pytest.raises(InvalidKeyError) as raised:
            Crypt({"k": OLD}, **form)
        assert key not in str(raised.value)
    crypt = Crypt({"2025": OLD}, fernet_keys=[NEW], cbc_keys=[NEW])
    shown = repr(crypt) + "".join(repr(vars(cipher)) for cipher in crypt._ciphers[:2]) + str(crypt)
    for hidden in (OLD, NEW, repr(base64.b64decode(OLD)), repr(base64.b64decode(NEW))):
        assert hidden not in shown


def test_each_call_is_observed_without_what_it_encrypts() -> None:
    seen: list[tuple[str, str, str]] = []

    class Recorder:
        def observe(self, library: str, operation: str, driver: str) -> AbstractContextManager[object]:
            seen.append((library, operation, driver))
            return nullcontext()

    crypt = Crypt({"2025": OLD}, observer=Recorder())
    crypt.decrypt(crypt.encrypt(SECRET.encode()))
    assert seen == [("crypt", "encrypt", "aes-256-gcm"), ("crypt", "decrypt", "aes-256-gcm")]


def test_the_fake_counts_its_calls_and_rotates() -> None:
    crypt = CryptFake()
    text = crypt.encrypt_json({"phone": SECRET})
    crypt.rotate()
    assert crypt.needs_reencryption(text)
    assert crypt.decrypt_json(text) == {"phone": SECRET}
    assert crypt.calls == {"encrypt": 1, "decrypt": 1}
    crypt.assert_encrypted()
    crypt.assert_decrypted()
    with pytest.raises(AssertionError, match="1 were encrypted, not 3"):
        crypt.assert_encrypted(3)


def test_a_generated_key_is_new_and_has_32_bytes() -> None:
    keys = {generate_key() for _ in range(3)}
    assert len(keys) == 3
    assert {len(base64.b64decode(key)) for key in keys} == {32}


def test_derived_keys_are_those_of_keyed_blake2b() -> None:
    # Fixed here, because what is stored depends on it.
    secret = bytes(range(32))
    derived = derive_key(secret, purpose=b"kpi-mail")
    assert derived.hex() == "06246b105e08da68f9735102b2f16da1af5ee364ad80880f07558f4054a297a2"
    assert derive_key(secret, purpose=b"kpi-mails") != derived
    assert derive_key(secret, purpose=b"kpi-mail", context=b"x") != derived
    assert len(derive_key(secret, purpose=b"kpi-mail", size=64)) == 64
    # Purposes are filled up with NUL, so one that ends with it would be another one's.
    for wrong in ({"purpose": b""}, {"purpose": b"x" * 17}, {"purpose": b"kpi-mail\0"}, {"size": 0}, {"size": 65}):
        with pytest.raises(InvalidKeyError):
            derive_key(secret, **{"purpose": b"kpi-mail", **wrong})
    for no_secret in (b"", b"x" * 15, b"x" * 65):
        with pytest.raises(InvalidKeyError):
            derive_key(no_secret, purpose=b"kpi-mail")


def test_the_payload_of_another_form_is_never_unpickled() -> None:
    """Older systems stored pickles too: they are bytes here, and no JSON."""
    crypt = CryptFake()
    text = crypt.encrypt(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert crypt.decrypt(text).startswith(b"cos")
    with pytest.raises(InvalidCiphertextError):
        crypt.decrypt_json(text)
