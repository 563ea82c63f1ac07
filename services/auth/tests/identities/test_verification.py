"""Which tokens of external providers are valid. Every refusal is the same error."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jwt
import pytest
from identity_support import (
    AUDIENCE,
    SECRET,
    KeyServer,
    claims,
    key_server,
    provider_of,
    shared_secret_provider,
    signing_key,
    token,
)
from kpi_auth.identities.errors import InvalidExternalTokenError
from kpi_auth.identities.key_sets import KeySet
from kpi_auth.identities.verification import LEEWAY, MAX_TOKEN_BYTES, ExternalIdentity, Verifier
from kpi_auth.settings.providers import IdentityProvider

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")
RSA = signing_key("RS256")
SHARED = shared_secret_provider()


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server(*(signing_key(name) for name in ALGORITHMS)) as server:
        yield server


@pytest.fixture
def provider(server: KeyServer) -> IdentityProvider:
    return provider_of(server, *ALGORITHMS)


@pytest.fixture
async def verifier(provider: IdentityProvider) -> AsyncIterator[Verifier]:
    async with httpx.AsyncClient() as client:
        keys = KeySet(provider, client)
        yield Verifier([provider, SHARED], {provider.name: keys})
        await keys.close()


def _segment(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def _is_refused(verifier: Verifier, text: str) -> bool:
    with pytest.raises(InvalidExternalTokenError):
        await verifier.verify(text)
    return True


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_good_token_is_valid(verifier: Verifier, server: KeyServer, algorithm: str) -> None:
    found = await verifier.verify(token(signing_key(algorithm), claims(server.issuer, email="Some.One@Example.com")))
    assert found == ExternalIdentity("tests", server.issuer, "someone", "some.one@example.com", False, None)


async def test_a_good_token_with_a_shared_secret_is_valid(verifier: Verifier) -> None:
    found = await verifier.verify(jwt.encode(claims(SHARED.issuer), SECRET, "HS256"))
    assert (found.provider, found.subject) == ("shared", "someone")


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "nOnE", "", None, 0, ["RS256"], {"RS256": 1}], ids=str)
@pytest.mark.parametrize("signature", ["", "AAAA"])
async def test_algorithm_none_is_refused(
    verifier: Verifier, server: KeyServer, spelling: object, signature: str
) -> None:
    header = {"typ": "JWT", "alg": spelling, "kid": "RS256"}
    assert await _is_refused(verifier, f"{_segment(header)}.{_segment(claims(server.issuer))}.{signature}")


async def test_a_public_key_is_not_a_shared_secret(verifier: Verifier, server: KeyServer) -> None:
    """HS/RS confusion, CVE-2015-9235. PyJWT would not sign such a token, so it is signed by hand."""
    for algorithm in ("HS256", "RS256"):
        signed = f"{_segment({'alg': algorithm, 'kid': 'RS256'})}.{_segment(claims(server.issuer))}"
        for secret in (RSA.public_pem, RSA.public_pem.rstrip(), json.dumps(RSA.public).encode()):
            code = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
            assert await _is_refused(verifier, f"{signed}.{_segment(code)}")


async def test_an_algorithm_outside_the_settings_is_refused(verifier: Verifier, server: KeyServer) -> None:
    assert await _is_refused(
        verifier, jwt.encode(claims(server.issuer), RSA.private, "RS512", headers={"kid": "RS256"})
    )
    long_secret = SECRET * 2
    assert await _is_refused(verifier, jwt.encode(claims(SHARED.issuer), long_secret, "HS512"))


async def test_a_providers_key_is_not_valid_for_another(verifier: Verifier) -> None:
    assert await _is_refused(verifier, token(RSA, claims(SHARED.issuer)))


async def test_another_key_of_the_same_name_is_refused(verifier: Verifier, server: KeyServer) -> None:
    assert await _is_refused(verifier, token(signing_key("RS256", "stranger"), claims(server.issuer), kid="RS256"))


async def test_a_changed_token_is_refused(verifier: Verifier, server: KeyServer) -> None:
    header, _, signature = token(RSA, claims(server.issuer)).split(".")
    changed = _segment(claims(server.issuer, "somebody else"))
    assert await _is_refused(verifier, f"{header}.{changed}.{signature}")


def _bad_claims() -> dict[str, dict[str, Any]]:
    now = int(time.time())
    return {
        "no issuer": {"iss": None},
        "another issuer": {"iss": "https://evil.example.com"},
        "an issuer with a slash more": {"iss": "https://id.example.com/"},
        "a list of issuers": {"iss": [SHARED.issuer]},
        "no audience": {"aud": None},
        "another audience": {"aud": "others"},
        "other audiences": {"aud": ["others", f"{AUDIENCE}-more"]},
        "a number as audience": {"aud": 5},
        "no expiry": {"exp": None},
        "expired": {"exp": now - LEEWAY - 5},
        "an endless expiry": {"exp": float("inf")},
        "no number as expiry": {"exp": "tomorrow"},
        "not yet valid": {"nbf": now + LEEWAY + 60},
        "no time of issue": {"iat": None},
        "issued in the future": {"iat": now + LEEWAY + 60},
        "no subject": {"sub": None},
        "an empty subject": {"sub": ""},
        "a number as subject": {"sub": 42},
        "a long subject": {"sub": "s" * 256},
        "a NUL in the subject": {"sub": "a\0b"},
        "half a character in the subject": {"sub": "a\ud800"},
        "nobody": {"is_anonymous": True},
    }


@pytest.mark.parametrize("name", _bad_claims())
async def test_bad_claims_are_refused(verifier: Verifier, name: str) -> None:
    payload = claims(SHARED.issuer) | _bad_claims()[name]
    # With the lower layer of PyJWT, which does not check what it signs.
    assert await _is_refused(verifier, jwt.PyJWS().encode(json.dumps(payload).encode(), SECRET, "HS256"))


def _odd_claims() -> dict[str, dict[str, Any]]:
    now = int(time.time())
    return {
        "several audiences": {"aud": ["others", AUDIENCE]},
        "a year to live": {"exp": now + 86_400 * 365},
        "a clock that is ahead": {"nbf": now + LEEWAY - 5, "iat": now + LEEWAY - 5},
        "no address": {"email": "not an address"},
        "a number as address": {"email": 5},
        "a NUL in the address": {"email": "a\0b@example.com"},
        "an object as name": {"preferred_username": {"a": 1}},
    }


@pytest.mark.parametrize("name", _odd_claims())
async def test_unusual_but_good_claims_are_valid(verifier: Verifier, name: str) -> None:
    found = await verifier.verify(jwt.encode({**claims(SHARED.issuer), **_odd_claims()[name]}, SECRET, "HS256"))
    assert (found.email, found.preferred_username) == (None, None)


async def test_a_missing_required_claim_is_refused(verifier: Verifier) -> None:
    for name in ("iss", "sub", "aud", "exp", "iat"):
        payload = {key: value for key, value in claims(SHARED.issuer).items() if key != name}
        assert await _is_refused(verifier, jwt.encode(payload, SECRET, "HS256"))


async def test_keys_in_a_token_are_not_used(verifier: Verifier, server: KeyServer) -> None:
    own = signing_key("RS256", "attackers")
    with key_server(own) as elsewhere:
        brought = {"jku": elsewhere.url, "x5u": elsewhere.url, "jwk": own.public, "x5c": ["AAAA"]}
        assert await _is_refused(verifier, token(own, claims(server.issuer), **brought))
        assert await _is_refused(verifier, token(own, claims(server.issuer), **brought, kid="RS256"))
        assert elsewhere.fetches == 0
        # They are ignored, so a good signature is still valid.
        assert await verifier.verify(token(RSA, claims(server.issuer), jku=elsewhere.url))


async def test_a_critical_header_parameter_is_refused(verifier: Verifier, server: KeyServer) -> None:
    for header in ({"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": True}, {"b64": False}):
        head = _segment({"alg": "RS256", "kid": "RS256", **header})
        signed = f"{head}.{_segment(claims(server.issuer))}"
        signature = jwt.get_algorithm_by_name("RS256").sign(signed.encode(), RSA.private)
        assert await _is_refused(verifier, f"{signed}.{_segment(signature)}")


async def test_a_token_of_another_kind_does_not_sign_in(verifier: Verifier, server: KeyServer) -> None:
    for kind in ("logout+jwt", "secevent+jwt", "dpop+jwt", 5):
        assert await _is_refused(verifier, token(RSA, claims(server.issuer), typ=kind))
    for kind in ("at+jwt", "application/at+jwt", "jwt"):
        assert await verifier.verify(token(RSA, claims(server.issuer), typ=kind))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        "\ud800",
        f"{_segment({'alg': 'RS256'})}.{_segment(b'[' * 5000)}.AAAA",
        f"{_segment(b'[' * 5000)}.AAAA.AAAA",
        f"{_segment([])}.{_segment([])}.AAAA",
        f"{_segment({'alg': 'RS256', 'kid': 5})}.{_segment({})}.AAAA",
        f"{_segment({'alg': 'RS256'})}.{_segment({'iss': {}})}.AAAA",
        f"{_segment({'alg': 'RS256'})}.{_segment(b'{' + b'1' * 5000)}.AAAA",
        "v4.local.AAAA",
    ],
    ids=lambda text: ascii(text)[:24],
)
async def test_a_malformed_token_is_refused(verifier: Verifier, text: str) -> None:
    assert await _is_refused(verifier, text)


async def test_the_length_of_a_token_is_bounded(verifier: Verifier) -> None:
    short = len(jwt.encode(claims(SHARED.issuer, more=""), SECRET, "HS256"))
    for more, counts in (((MAX_TOKEN_BYTES - short) * 3 // 4 - 8, True), (MAX_TOKEN_BYTES * 3 // 4, False)):
        text = jwt.encode(claims(SHARED.issuer, more="x" * more), SECRET, "HS256")
        assert (len(text) <= MAX_TOKEN_BYTES) is counts
        if counts:
            assert await verifier.verify(text)
        else:
            assert await _is_refused(verifier, text)


async def test_a_check_can_be_restricted_to_one_provider(verifier: Verifier, provider: IdentityProvider) -> None:
    good = jwt.encode(claims(SHARED.issuer), SECRET, "HS256")
    assert await verifier.verify(good, only=SHARED)
    with pytest.raises(InvalidExternalTokenError):
        await verifier.verify(good, only=provider)


@pytest.mark.parametrize(
    ("given", "is_verified"),
    [
        ({"email_verified": True}, True),
        ({"email_verified": "true"}, False),
        ({"email_verified": 1}, False),
        ({"email_verified": False}, False),
        ({}, False),
        # Supabase's users can write their user_metadata themselves.
        ({"user_metadata": {"email_verified": True}}, False),
        ({"app_metadata": {"email_verified": True}}, False),
    ],
    ids=str,
)
async def test_when_an_email_address_is_verified(
    verifier: Verifier, given: dict[str, object], is_verified: bool
) -> None:
    text = jwt.encode(claims(SHARED.issuer, email="some.one@example.com", **given), SECRET, "HS256")
    assert (await verifier.verify(text)).email_verified is is_verified


async def test_an_operator_can_assert_that_a_provider_confirms_addresses() -> None:
    verifier = Verifier([shared_secret_provider(confirms_emails=True)], {})
    text = jwt.encode(claims(SHARED.issuer, email="some.one@example.com"), SECRET, "HS256")
    assert (await verifier.verify(text)).email_verified
