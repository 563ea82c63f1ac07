"""Verifies JWTs of external identity providers and reads the identity from them (RFC 7519, RFC 8725)."""

import unicodedata
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import jwt
from fastapi import Depends, FastAPI, Request
from jwt.algorithms import AllowedPublicKeys
from kpi_shared.fields.emails import normalize_email
from pydantic_core import PydanticCustomError

from kpi_auth.identities.errors import InvalidExternalTokenError
from kpi_auth.identities.key_sets import TIMEOUT, KeySet
from kpi_auth.settings.providers import IdentityProvider

MAX_TOKEN_BYTES = 8 * 1024
# How far our clock and the provider's may differ, in seconds.
LEEWAY = 10
_REQUIRED = ["iss", "sub", "aud", "exp", "iat"]
_MAX_SUBJECT = 255
_MAX_NAME = 254
# A token of another type (a logout token, a security event) is not accepted for signing in: RFC 8725, section 3.11.
# Most providers send JWT or no type.
_TYPES = {"jwt", "at+jwt"}
# What reading a hostile token can raise, PyJWT's own errors included.
_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError, NotImplementedError)


@dataclass(frozen=True)
class ExternalIdentity:
    """A user's identity at a provider. The e-mail address is normalised."""

    provider: str
    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    preferred_username: str | None


class Verifier:
    """Checks tokens against the settings of their provider, never against values from the token."""

    def __init__(self, providers: Sequence[IdentityProvider], key_sets: Mapping[str, KeySet]) -> None:
        self._by_issuer = {provider.issuer: provider for provider in providers}
        self._key_sets = key_sets

    async def verify(self, token: str, *, only: IdentityProvider | None = None) -> ExternalIdentity:
        """The identity in the token, or InvalidExternalTokenError, or ProviderUnreachableError.

        ``only`` restricts the check to the tokens of one provider.
        """
        header, claims = _read(token)
        provider = self._find_provider(claims.get("iss"))
        if provider is None or (only is not None and provider != only):
            raise InvalidExternalTokenError
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in provider.algorithms:
            raise InvalidExternalTokenError(provider.name)
        key = await self._find_key(provider, algorithm, header.get("kid"))
        if key is None:
            raise InvalidExternalTokenError(provider.name)
        return _to_identity(provider, _check_signature(token, key, provider))

    def find_by_name(self, name: str) -> IdentityProvider | None:
        return next((provider for provider in self._by_issuer.values() if provider.name == name), None)

    def _find_provider(self, issuer: object) -> IdentityProvider | None:
        """The claim is not verified yet: it only selects the provider to check against."""
        return self._by_issuer.get(issuer) if isinstance(issuer, str) else None

    async def _find_key(self, provider: IdentityProvider, algorithm: str, kid: str | None) -> jwt.PyJWK | str | None:
        if provider.secret is not None:
            return provider.secret.get_secret_value()
        return await self._key_sets[provider.name].find(kid=kid, algorithm=algorithm)


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise InvalidExternalTokenError
    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except _UNREADABLE:
        raise InvalidExternalTokenError from None
    header = read["header"]
    # No critical header parameter is supported (RFC 7515, section 4.1.11), and keys in the header are never used.
    if "crit" in header or "b64" in header or not _is_of_type(header.get("typ")):
        raise InvalidExternalTokenError
    return header, read["payload"]


def _is_of_type(kind: object) -> bool:
    return kind is None or (isinstance(kind, str) and kind.lower().removeprefix("application/") in _TYPES)


def _check_signature(
    token: str, key: AllowedPublicKeys | jwt.PyJWK | str, provider: IdentityProvider
) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=provider.algorithms,
            audience=provider.audience,
            issuer=provider.issuer,
            leeway=LEEWAY,
            options={"require": _REQUIRED, "enforce_minimum_key_length": True},
        )
    except _UNREADABLE:
        raise InvalidExternalTokenError(provider.name) from None


def _to_identity(provider: IdentityProvider, claims: Mapping[str, Any]) -> ExternalIdentity:
    subject = claims["sub"]
    # Supabase issues tokens to anonymous users and marks them so: they do not identify a person.
    if not _is_storable(subject, _MAX_SUBJECT) or claims.get("is_anonymous") is True:
        raise InvalidExternalTokenError(provider.name)
    name = claims.get("preferred_username")
    return ExternalIdentity(
        provider=provider.name,
        issuer=provider.issuer,
        subject=subject,
        email=_email(claims.get("email")),
        # Only the top-level claim: Supabase has another in user_metadata, which users can write themselves.
        email_verified=_is_plain(claims.get("email"))
        and (provider.confirms_emails or claims.get("email_verified") is True),
        preferred_username=name if _is_storable(name, _MAX_NAME) else None,
    )


def _is_storable(value: object, longest: int) -> bool:
    """Is it text that PostgreSQL can hold: no NUL, no half of a surrogate pair?"""
    if not isinstance(value, str) or not 0 < len(value) <= longest or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_plain(value: object) -> bool:
    """Is it the same before and after NFKC? If not, the normalised address would be a different mailbox."""
    return isinstance(value, str) and unicodedata.normalize("NFKC", value[:_MAX_NAME]) == value


def _email(value: object) -> str | None:
    if not isinstance(value, str) or not _is_storable(value, _MAX_NAME):
        return None
    try:
        return normalize_email(value)
    except PydanticCustomError:
        return None


async def external_verifier(app: FastAPI) -> AsyncIterator[None]:
    """The verifier, with the HTTP client that fetches keys, if any provider has a key URL."""
    providers: tuple[IdentityProvider, ...] = app.state.settings.trusted_providers
    with_keys = [provider for provider in providers if provider.jwks_url is not None]
    async with AsyncExitStack() as stack:
        key_sets = {}
        if with_keys:
            # Redirects are not followed: only the settings determine where keys come from.
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False))
            key_sets = {provider.name: KeySet(provider, client) for provider in with_keys}
            for key_set in key_sets.values():
                stack.push_async_callback(key_set.close)
        app.state.verifier = Verifier(providers, key_sets)
        yield


async def _verifier(request: Request) -> Verifier:
    verifier: Verifier = request.app.state.verifier
    return verifier


VerifierOfApp = Annotated[Verifier, Depends(_verifier)]
