"""What counts as a token of ours, and what does not."""

import base64
import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kpi_shared import tokens as tokens_module
from kpi_shared.caller import Role
from kpi_shared.keys import key_id
from kpi_shared.tokens import InvalidTokenError, KeyRing, TokenCodec, seal

# Fixed, since the names of tests are made of it.
KEY = hashlib.sha256(b"a key for tests").digest()
NAMES = {"issuer": "kpi-one", "audience": "kpi-one"}
FOOTER = json.dumps({"kid": key_id(KEY)}).encode()
CODEC = TokenCodec(KeyRing(KEY), **NAMES)


def mint(codec: TokenCodec = CODEC, *, lifetime: timedelta = timedelta(minutes=5)) -> str:
    return codec.mint(user_id=7, username="anna", role=Role.ADMIN, session_id="s1", lifetime=lifetime)


def claims(**changes: object) -> dict[str, Any]:
    """Good claims, but for the changes; None leaves a claim out."""
    now = datetime.now(UTC)
    good = {
        "sub": "7",
        "username": "anna",
        "role": "user",
        "sid": "s",
        "jti": "j",
        "iss": "kpi-one",
        "aud": "kpi-one",
        "iat": now.isoformat(),
        "nbf": now.isoformat(),
        "exp": (now + timedelta(minutes=1)).isoformat(),
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sealed(payload: object, *, footer: bytes = FOOTER, key: bytes = KEY) -> str:
    return seal(json.dumps(payload).encode(), key=key, footer=footer)


def test_a_minted_token_says_who_it_speaks_for() -> None:
    subject = CODEC.verify(mint())
    assert (subject.id, subject.username, subject.role, subject.session_id) == (7, "anna", Role.ADMIN, "s1")
    assert subject.is_admin
    assert timedelta(minutes=4) < subject.expires_at - datetime.now(UTC) <= timedelta(minutes=5)


def test_two_tokens_differ() -> None:
    assert CODEC.verify(mint()).token_id != CODEC.verify(mint()).token_id


def test_good_claims_count() -> None:
    assert CODEC.verify(sealed(claims())).id == 7


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
        {"jti": None},
    ],
)
def test_claims_of_another_form_do_not_count(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidTokenError):
        CODEC.verify(sealed(claims(**changes)))


@pytest.mark.parametrize("payload", [[], "text", None, 7, [claims()]])
def test_a_payload_that_is_no_object_does_not_count(payload: object) -> None:
    with pytest.raises(InvalidTokenError):
        CODEC.verify(sealed(payload))


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"[" * 900, b"{}"])
def test_a_payload_that_is_no_json_does_not_count(payload: bytes) -> None:
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
def test_a_footer_of_another_form_does_not_count(footer: bytes) -> None:
    with pytest.raises(InvalidTokenError):
        CODEC.verify(sealed(claims(), footer=footer))


def test_no_byte_of_a_token_can_be_changed() -> None:
    token = mint()
    for place in range(len(token)):
        for other in {"A", "_", "=", ".", "\u00e9", " "} - {token[place]}:
            with pytest.raises(InvalidTokenError):
                CODEC.verify(token[:place] + other + token[place + 1 :])


def test_nothing_can_be_added_or_cut() -> None:
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


def test_spare_bits_of_the_encoding_do_not_count() -> None:
    """Another spelling of the same bytes would be a second token with the same meaning."""
    tokens = [sealed(claims(username="a" * length)) for length in (3, 4, 5)]
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


def test_rotation_keeps_previous_keys_and_forgets_retired_ones() -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    token = mint(TokenCodec(KeyRing(old), **NAMES))
    assert TokenCodec(KeyRing(new, [old]), **NAMES).verify(token).id == 7
    with pytest.raises(InvalidTokenError):
        TokenCodec(KeyRing(new), **NAMES).verify(token)


def test_a_kid_does_not_choose_another_keys_token() -> None:
    """A token sealed with one key under the name of another stays shut."""
    other = secrets.token_bytes(32)
    ring = TokenCodec(KeyRing(KEY, [other]), **NAMES)
    with pytest.raises(InvalidTokenError):
        ring.verify(sealed(claims(), key=other))


def test_leeway_covers_a_slow_clock_but_no_expiry() -> None:
    assert CODEC.verify(sealed(claims(nbf=_moment(seconds=5), iat=_moment(seconds=5)))).id == 7
    with pytest.raises(InvalidTokenError):
        CODEC.verify(mint(lifetime=timedelta(seconds=0)))


def test_a_token_that_was_seen_before_counts_no_longer_than_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = TokenCodec(KeyRing(KEY), **NAMES)
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


def test_another_codec_has_not_seen_it() -> None:
    token = mint()
    assert CODEC.verify(token) == CODEC.verify(token)
    retired = TokenCodec(KeyRing(bytes(32)), **NAMES)
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            retired.verify(token)


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "_MAX_VERIFIED", 3)
    codec = TokenCodec(KeyRing(KEY), **NAMES)
    tokens = [mint(codec) for _ in range(7)]
    for token in tokens + tokens:
        assert codec.verify(token) == CODEC.verify(token)
    assert len(codec._verified) == 3
