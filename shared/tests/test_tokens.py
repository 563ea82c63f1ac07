"""Valid and invalid access tokens."""

import base64
import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kpi_shared.caller import Role
from kpi_shared.keys import key_id
from kpi_shared.tokens import InvalidTokenError, KeyRing, TokenCodec, seal
from kpi_shared.tokens import codec as tokens_module

# Fixed, since test names contain it.
KEY = hashlib.sha256(b"a key for tests").digest()
NAMES = {"issuer": "kpi-one", "audience": "kpi-one"}
FOOTER = json.dumps({"kid": key_id(KEY)}).encode()
CODEC = TokenCodec(KeyRing.local(KEY), **NAMES)


def mint(codec: TokenCodec = CODEC, *, lifetime: timedelta = timedelta(minutes=5)) -> str:
    return codec.mint(user_id=7, username="anna", role=Role.ADMIN, session_id="31", lifetime=lifetime)


def claims(**changes: object) -> dict[str, Any]:
    """Valid claims with changes; None removes a claim."""
    now = datetime.now(UTC)
    good = {
        "sub": "7",
        "username": "anna",
        "role": "user",
        "sid": "31",
        "jti": "j",
        "iss": "kpi-one",
        "aud": "kpi-one",
        "iat": now.isoformat(),
        "nbf": now.isoformat(),
        "exp": (now + timedelta(minutes=1)).isoformat(),
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def seal_json(payload: object, *, footer: bytes = FOOTER, key: bytes = KEY) -> str:
    return seal(json.dumps(payload).encode(), key=key, footer=footer)


def test_a_minted_token_contains_its_subject() -> None:
    subject = CODEC.verify(mint())
    assert (subject.id, subject.username, subject.role, subject.session_id) == (7, "anna", Role.ADMIN, "31")
    assert subject.is_admin
    assert timedelta(minutes=4) < subject.expires_at - datetime.now(UTC) <= timedelta(minutes=5)


def test_a_token_contains_the_version_of_its_account() -> None:
    names = {"user_id": 7, "username": "anna", "session_id": "31", "lifetime": timedelta(minutes=5)}
    assert CODEC.verify(CODEC.mint(**names, role=Role.USER, account_version=3)).account_version == 3
    assert CODEC.verify(mint()).account_version is None


def test_a_token_of_an_api_key_contains_the_end_of_the_key() -> None:
    names = {"user_id": 7, "username": "anna", "session_id": "key-3", "lifetime": timedelta(minutes=1)}
    end = datetime.now(UTC) + timedelta(days=1)
    assert CODEC.verify(CODEC.mint(**names, role=Role.USER, api_key_ends_at=end)).api_key_ends_at == end
    assert CODEC.verify(mint()).api_key_ends_at is None


@pytest.mark.parametrize("version", ["3", 0, -1, 2**63, 1.0, True])
def test_an_account_version_that_is_not_a_positive_integer_is_refused(version: object) -> None:
    with pytest.raises(InvalidTokenError):
        CODEC.verify(seal_json(claims(ver=version)))


def test_two_tokens_differ() -> None:
    assert CODEC.verify(mint()).token_id != CODEC.verify(mint()).token_id


def test_valid_claims_are_accepted() -> None:
    assert CODEC.verify(seal_json(claims())).id == 7


def _moment(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": _moment(seconds=-1)},
        {"exp": "2999-01-01T00:00:00"},
        {"exp": 4102444800},
        {"exp": "tomorrow"},
        {"exp": ["2999-01-01T00:00:00Z"]},
        {"nbf": None},
        {"nbf": _moment(seconds=3600)},
        {"iat": None},
        {"iat": _moment(seconds=3600)},
        {"aud": None},
        {"aud": "another"},
        {"aud": ["kpi-one"]},
        {"iss": None},
        {"iss": "another"},
        {"sub": None},
        {"sub": 7},
        {"sub": "0"},
        {"sub": "-7"},
        {"sub": "7.0"},
        {"sub": str(2**63)},
        {"sub": "9" * 5000},
        {"sub": "\u0667"},
        {"role": None},
        {"role": "root"},
        {"role": True},
        {"username": None},
        {"username": 7},
        {"sid": None},
        {"sid": ""},
        {"sid": "0"},
        {"sid": "-7"},
        {"sid": "07"},
        {"sid": " 7"},
        {"sid": "7\n"},
        {"sid": "a7"},
        {"sid": str(2**63)},
        {"sid": "9" * 19},
        {"sid": "9" * 5000},
        {"sid": "\u0667"},
        {"jti": None},
    ],
)
def test_invalid_claims_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidTokenError):
        CODEC.verify(seal_json(claims(**changes)))


@pytest.mark.parametrize("payload", [[], "text", None, 7, [claims()]])
def test_a_payload_that_is_not_an_object_is_refused(payload: object) -> None:
    with pytest.raises(InvalidTokenError):
        CODEC.verify(seal_json(payload))


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"[" * 900, b"{}"])
def test_a_payload_that_is_not_json_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidTokenError):
        CODEC.verify(seal(payload, key=KEY, footer=FOOTER))


@pytest.mark.parametrize(
    "footer",
    [
        b"",
        b"{}",
        b"[]",
        b"kid",
        b'{"kid": 1}',
        b'{"kid": "k4.lid.unknown"}',
        b'{"kid": "%s", "x": 1}' % key_id(KEY).encode(),
        b'{"kid": "%s"}' % (b"k" * 300),
        b"[" * 250,
    ],
)
def test_an_invalid_footer_is_refused(footer: bytes) -> None:
    with pytest.raises(InvalidTokenError):
        CODEC.verify(seal_json(claims(), footer=footer))


def test_no_byte_of_a_token_can_be_changed() -> None:
    token = mint()
    for place in range(len(token)):
        for other in {"A", "_", "=", ".", "\u00e9", " "} - {token[place]}:
            with pytest.raises(InvalidTokenError):
                CODEC.verify(token[:place] + other + token[place + 1 :])


def test_nothing_can_be_added_or_removed() -> None:
    token = mint()
    body, footer = token.removeprefix("v4.local.").split(".")
    others = [
        "",
        "v4.local.",
        "v4.local..",
        token + "=",
        token + ".",
        token + ".AAAA",
        token + " ",
        " " + token,
        token + "\n",
        "v4.local." + body,
        "v4.local." + body + ".",
        f"v4.local.{body}=.{footer}",
        f"v4.local.{body}==.{footer}",
        token[:-1],
        token.replace("v4.local.", "v4.public."),
        token.replace("v4.local.", "v3.local."),
        token.replace("v4.local.", "V4.LOCAL."),
        "v4.local." + "A" * 100_000,
    ]
    for other in others:
        with pytest.raises(InvalidTokenError):
            CODEC.verify(other)


def test_a_noncanonical_encoding_is_refused() -> None:
    """Another encoding of the same bytes would be a second token with the same meaning."""
    tokens = [seal_json(claims(username="a" * length)) for length in (3, 4, 5)]
    token = next(token for token in tokens if len(token.removeprefix("v4.local.").split(".")[0]) % 4)
    body, footer = token.removeprefix("v4.local.").split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    decoded = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    same = [body[:-1] + last for last in alphabet if last != body[-1]]
    same = [text for text in same if base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) == decoded]
    assert same
    for text in same:
        with pytest.raises(InvalidTokenError):
            CODEC.verify(f"v4.local.{text}.{footer}")


def test_rotation_keeps_previous_keys_and_drops_retired_ones() -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    token = mint(TokenCodec(KeyRing.local(old), **NAMES))
    assert TokenCodec(KeyRing.local(new, [old]), **NAMES).verify(token).id == 7
    with pytest.raises(InvalidTokenError):
        TokenCodec(KeyRing.local(new), **NAMES).verify(token)


def test_a_token_under_the_kid_of_another_key_is_refused() -> None:
    """A token that is sealed with one key under the id of another."""
    other = secrets.token_bytes(32)
    ring = TokenCodec(KeyRing.local(KEY, [other]), **NAMES)
    with pytest.raises(InvalidTokenError):
        ring.verify(seal_json(claims(), key=other))


def test_the_leeway_covers_a_slow_clock_but_not_the_expiry() -> None:
    assert CODEC.verify(seal_json(claims(nbf=_moment(seconds=5), iat=_moment(seconds=5)))).id == 7
    with pytest.raises(InvalidTokenError):
        CODEC.verify(mint(lifetime=timedelta(seconds=0)))


def test_a_remembered_token_is_valid_only_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = TokenCodec(KeyRing.local(KEY), **NAMES)
    token = mint(codec)
    subject = codec.verify(token)
    assert codec.verify(token) is subject

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(minutes=6)

    monkeypatch.setattr(tokens_module, "datetime", Later)
    with pytest.raises(InvalidTokenError):
        codec.verify(token)


def test_another_codec_does_not_share_remembered_tokens() -> None:
    token = mint()
    assert CODEC.verify(token) == CODEC.verify(token)
    retired = TokenCodec(KeyRing.local(bytes(32)), **NAMES)
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            retired.verify(token)


def test_the_number_of_remembered_tokens_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "_MAX_VERIFIED", 3)
    codec = TokenCodec(KeyRing.local(KEY), **NAMES)
    tokens = [mint(codec) for _ in range(7)]
    for token in tokens + tokens:
        assert codec.verify(token) == CODEC.verify(token)
    assert len(codec._verified) == 3
