"""Published vectors, and what Fastpy and Laravel wrote."""

import base64
import hmac
import json

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7
from kpi_kit.crypt import Crypt, InvalidCiphertextError, generate_key

KEY = bytes(range(32))
ENCODED_KEY = base64.b64encode(KEY).decode()
# NIST CAVP, gcmEncryptExtIV256.rsp: key, nonce, plaintext, associated data, ciphertext, tag.
GCM = [
    (
        "b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4",
        "516c33929df5a3284ff463d7",
        "",
        "",
        "",
        "bdc1ac884d332457a1d2664f168c76f0",
    ),
    (
        "78dc4e0aaf52d935c3c01eea57428f00ca1fd475f5da86a49c8dd73d68c8e223",
        "d79cf22d504cc793c3fb6c8a",
        "",
        "b96baa8c1c75a671bfb2d08d06be5f36",
        "",
        "3e5d486aa2e30b22e040b85723a06e76",
    ),
    (
        "31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22",
        "0d18e06c7c725ac9e362e1ce",
        "2db5168e932556f8089a0622981d017d",
        "",
        "fa4362189661d163fcd6a56d8bf0405a",
        "d636ac1bbedd5cc3ee727dc2ab4a9489",
    ),
    (
        "24501ad384e473963d476edcfe08205237acfd49b5b8f33857f8114e863fec7f",
        "9ff18563b978ec281b3f2794",
        "27f348f9cdc0c5bd5e66b1ccb63ad920ff2219d14e8d631b3872265cf117ee86757accb158bd9abb3868fdc0d0b074b5f01b2c",
        "adb5ec720ccf9898500028bf34afccbcaca126ef",
        "eb7cb754c824e8d96f7c6d9b76c7d26fb874ffbf1d65c6f64a698d839b0b06145dae82057ad55994cf59ad7f67c0fa5e85fab8",
        "bc95c532fecc594c36d1550286a7a3f0",
    ),
]
# https://github.com/fernet/spec: verify.json, and all of invalid.json but those about the age of a token.
FERNET_KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
FERNET = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
INVALID_FERNET = {
    "incorrect mac": "rn9hs9yS0GVWjk4hH822VIwQUWz-_WZWCLzsD7SgV2IAAAAAHcCesAABAgMEBQYHCAkKCwwNDg8tNtXKRlVimf3hMAhjOASy",
    "too short": "91GVdgz7jmWR6vJiViEA4u-LhVMhCSr87INSeFwwkYAAAAAAHcCesAABAgMEBQYHCAkKCw==",
    "base64": "%%%%%%%%%%%j-ztUarjDIfllJBmLiBMjfcmZesHVIhcAAAAAHcCesAABAgMEBQYHCAkKCwwNDg8tNtXKRlVimf3hMAhjOASy",
    "size": "r-pDJRzyfnW4rYfh-gZek3qA3lnFG8fGaf0qgmZlPL8AAAAAHcCesAABAgMEBQYHCAkKCwwNDg8tNtXKRlVimf3hMAhjOAQ=",
    "padding": "ApoqRxzlU8Z9-mPSV6ufXeIgKugRjI_-ugnnqqoCTjQAAAAAHcCesAABAgMEBQYHCAkKCwwNDg91rx5fbHkRnpZBxpOuEAjd",
    "incorrect IV": "fe5sCHPyF13H837yvtc65xAlWfXXP3fEUX_jMiB74EwAAAAAHcCesHV0d3ZxcHNyfXx_fnl4e3otNtXKRlVimf3hMAhjOASy",
}


@pytest.mark.parametrize(("key", "nonce", "plain", "associated", "sealed", "tag"), GCM)
def test_the_primitive_fulfils_the_vectors_of_nist(
    key: str, nonce: str, plain: str, associated: str, sealed: str, tag: str
) -> None:
    made = AESGCM(bytes.fromhex(key)).encrypt(bytes.fromhex(nonce), bytes.fromhex(plain), bytes.fromhex(associated))
    assert made.hex() == sealed + tag


def test_a_value_is_what_the_documentation_says() -> None:
    """Taken apart and put together by hand, so that another program could do the same."""
    crypt = Crypt({"a-key": ENCODED_KEY})
    prefix, _, body = crypt.encrypt(b"a value", associated_data=b"of a row").partition(".")
    decoded = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    assert (prefix, decoded[:6]) == ("kpi1", b"\x05a-key")
    authenticated = b"kpi1.\x05a-keyof a row"
    assert AESGCM(KEY).decrypt(decoded[6:18], decoded[18:], authenticated) == b"a value"
    nonce = bytes(12)
    other = b"\x05a-key" + nonce + AESGCM(KEY).encrypt(nonce, b"another", authenticated)
    text = f"kpi1.{base64.urlsafe_b64encode(other).rstrip(b'=').decode()}"
    assert crypt.decrypt(text, associated_data=b"of a row") == b"another"


def test_a_fernet_token_is_read_and_due_to_be_replaced() -> None:
    crypt = Crypt({"k": generate_key()}, fernet_keys=[generate_key(), FERNET_KEY])
    assert crypt.decrypt(FERNET) == b"hello"
    assert crypt.needs_reencryption(FERNET)
    again = crypt.reencrypt(FERNET, associated_data=b"of a row")
    assert not crypt.needs_reencryption(again)
    assert crypt.decrypt(again, associated_data=b"of a row") == b"hello"
    with pytest.raises(InvalidCiphertextError):
        Crypt({"k": generate_key()}, fernet_keys=[generate_key()]).decrypt(FERNET)
    with pytest.raises(InvalidCiphertextError):
        Crypt({"k": generate_key()}).decrypt(FERNET)


@pytest.mark.parametrize("token", [*INVALID_FERNET.values(), FERNET[:-4], f"{FERNET[:40]}A{FERNET[41:]}", "gAAAAAé"])
def test_an_invalid_fernet_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidCiphertextError):
        Crypt({"k": generate_key()}, fernet_keys=[FERNET_KEY]).decrypt(token)


def test_fastpy_s_fernet_key_may_be_a_text_of_32_characters() -> None:
    key = "an application key of 32 letters"
    token = Fernet(base64.urlsafe_b64encode(key.encode())).encrypt(b'{"user": 7}').decode()
    assert Crypt({"k": generate_key()}, fernet_keys=[key]).decrypt_json(token) == {"user": 7}


def write_as_fastpy(
    data: bytes, *, key: bytes = KEY, padded: bytes | None = None, iv: bytes = bytes(16), **more: object
) -> str:
    """What Fastpy's AESEncrypter, and Laravel's, make of a value."""
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    value = encryptor.update(padded or padder.update(data) + padder.finalize()) + encryptor.finalize()
    encoded = {"iv": base64.b64encode(iv).decode(), "value": base64.b64encode(value).decode()}
    mac = hmac.digest(key, (encoded["iv"] + encoded["value"]).encode(), "sha256").hex()
    return base64.b64encode(json.dumps({**encoded, "mac": mac, **more}).encode()).decode()


@pytest.mark.parametrize("size", [16, 32])
def test_what_fastpy_s_other_encrypter_wrote_is_read(size: int) -> None:
    crypt = Crypt({"k": generate_key()}, cbc_keys=[generate_key(), base64.b64encode(KEY[:size]).decode()])
    text = write_as_fastpy(b'{"user": 7}', key=KEY[:size])
    assert crypt.decrypt_json(text) == {"user": 7}
    assert crypt.needs_reencryption(text)


def test_laravel_s_key_and_tag_are_understood() -> None:
    crypt = Crypt({"k": generate_key()}, cbc_keys=[f"base64:{ENCODED_KEY}"])
    assert crypt.decrypt(write_as_fastpy(b's:5:"hello";', tag="")) == b's:5:"hello";'


@pytest.mark.parametrize(
    "text",
    [
        write_as_fastpy(b"a value", mac="0" * 64),
        write_as_fastpy(b"a value", mac=7),
        write_as_fastpy(b"a value", mac=None),
        write_as_fastpy(b"a value", iv=bytes(16), value="AAAA"),
        write_as_fastpy(b"a value", key=bytes(32)),
        # The MAC is right, and the padding is not.
        write_as_fastpy(b"", padded=b"\0" * 16),
        write_as_fastpy(b"a value")[:-8],
        base64.b64encode(b'{"iv": "", "value": ""}').decode(),
        base64.b64encode(b'{"' + b"[" * 100_000).decode(),
        "eyJé",
    ],
)
def test_an_invalid_value_of_fastpy_is_refused_in_the_same_words(text: str) -> None:
    with pytest.raises(InvalidCiphertextError, match=r"^the encrypted value is not valid$") as raised:
        Crypt({"k": generate_key()}, cbc_keys=[ENCODED_KEY]).decrypt(text)
    assert raised.value.__cause__ is None


def test_nothing_is_decrypted_before_its_mac_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    from kpi_kit.crypt.drivers import aes_cbc  # noqa: PLC0415 it is imported when it is chosen

    begun: list[object] = []
    monkeypatch.setattr(aes_cbc, "_decrypt", lambda *parts: begun.append(parts))
    crypt = Crypt({"k": generate_key()}, cbc_keys=[ENCODED_KEY])
    with pytest.raises(InvalidCiphertextError):
        crypt.decrypt(write_as_fastpy(b"a value", mac="0" * 64))
    assert begun == []
    crypt.decrypt(write_as_fastpy(b"a value"))
    assert len(begun) == 1
