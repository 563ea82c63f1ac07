"""The external identity providers that are trusted, as IDENTITY_PROVIDERS configures them.

All rules for the validity of a token are configured here and never taken from the token: RFC 8725, sections 3.1, 3.8
and 3.9.
"""

import ipaddress
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError
from kpi_shared.text import StorableText
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import NoDecode

# The minimum length of a secret in bytes: the length of the hash (RFC 7518, section 3.2).
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_FEWEST_DISTINCT_CHARACTERS = 10
# The default secret of Supabase's development server, which is public.
_WELL_KNOWN = "super-secret-jwt-token-with-at-least-32-characters-long"

Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "HS256",
    "HS384",
    "HS512",
]


def _check_url(value: str) -> str:
    """https is required, because the keys from there decide who can sign in; plain http is for this machine only."""
    parts = urlsplit(value)
    safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    # Reading the port validates it.
    _ = parts.port
    if not safe or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError("an https:// URL is needed, without user and fragment")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_project_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.path.strip("/").startswith(("auth/v1", "rest/v1")) or parts.query:
        raise ValueError("the URL of the project is needed, such as https://<ref>.supabase.co, without /auth/v1")
    return value


SafeUrl = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_check_url)]
ProjectUrl = Annotated[SafeUrl, AfterValidator(_check_project_url)]
Audience = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class IdentityProvider(BaseModel):
    """One issuer of tokens, with either the URL of its public keys or the secret that it shares with this service."""

    model_config = {"extra": "forbid", "frozen": True, "hide_input_in_errors": True}

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    # Compared character by character with the claim, as OpenID Connect Core 3.1.3.7 requires.
    issuer: Annotated[StorableText, StringConstraints(min_length=1, max_length=500)]
    audience: Audience
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)]
    jwks_url: SafeUrl | None = None
    secret: SecretStr | None = None
    # The operator asserts that the provider confirms each e-mail address, for tokens without a claim that says so.
    confirms_emails: bool = False

    @model_validator(mode="after")
    def _check_algorithms_fit_keys(self) -> Self:
        if (self.jwks_url is None) == (self.secret is None):
            raise ValueError("either jwks_url or secret is needed")
        shared = [name for name in self.algorithms if name in _SECRET_BYTES]
        # With both kinds, a public key could be used as a shared secret.
        if self.secret is None and shared:
            raise ValueError(f"{shared[0]} needs a secret, not a jwks_url")
        if self.secret is not None:
            if len(shared) != len(self.algorithms):
                raise ValueError("a secret can be used with HS256, HS384 and HS512 only")
            _check_secret(self.secret.get_secret_value(), at_least=max(_SECRET_BYTES[name] for name in shared))
        return self


def _check_secret(secret: str, *, at_least: int) -> None:
    if len(secret.encode()) < at_least:
        raise ValueError(f"secret is too short: at least {at_least} bytes are needed")
    if secret == _WELL_KNOWN or len(set(secret)) < _FEWEST_DISTINCT_CHARACTERS:
        raise ValueError("secret is well known or can be guessed")
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        raise ValueError("secret is a public key or certificate, which is not secret") from None


def _check_jwt_secret(value: SecretStr) -> SecretStr:
    _check_secret(value.get_secret_value(), at_least=_SECRET_BYTES["HS256"])
    return value


JwtSecret = Annotated[SecretStr, AfterValidator(_check_jwt_secret)]


class SupabasePreset(BaseModel):
    """A Supabase project: its asymmetric signing keys, or the legacy secret."""

    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    preset: Literal["supabase"]
    project_url: ProjectUrl
    secret: SecretStr | None = None
    confirms_emails: bool = False

    def provider(self) -> IdentityProvider:
        issuer = self.project_url.rstrip("/") + "/auth/v1"
        keys: dict[str, Any] = {"jwks_url": f"{issuer}/.well-known/jwks.json", "algorithms": ("ES256", "RS256")}
        if self.secret is not None:
            keys = {"secret": self.secret, "algorithms": ("HS256",)}
        return IdentityProvider(
            name="supabase", issuer=issuer, audience="authenticated", confirms_emails=self.confirms_emails, **keys
        )


def _parse(value: object) -> object:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("a JSON list of providers is needed") from None
    if not isinstance(value, list | tuple):
        raise ValueError("a JSON list of providers is needed")  # noqa: TRY004 pydantic reports ValueErrors alone
    return tuple(_provider(number, item) for number, item in enumerate(value, start=1))


def _provider(number: int, item: object) -> IdentityProvider:
    if isinstance(item, IdentityProvider):
        return item
    try:
        if isinstance(item, Mapping) and "preset" in item:
            return SupabasePreset.model_validate(item).provider()
        return IdentityProvider.model_validate(item)
    except ValidationError as error:
        reasons = "; ".join(_reason(found) for found in error.errors(include_input=False, include_context=False))
        raise ValueError(f"provider {number}: {reasons}") from None


def _reason(found: Any) -> str:  # noqa: ANN401 pydantic's ErrorDetails is a TypedDict of a private module
    """What is wrong and where; pydantic's messages for these types never contain the value."""
    field = ".".join(str(part) for part in found["loc"])
    message = str(found["msg"]).removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def _check_distinct(providers: tuple[IdentityProvider, ...]) -> tuple[IdentityProvider, ...]:
    for field in ("name", "issuer"):
        given = [getattr(provider, field) for provider in providers]
        twice = next((value for value in given if given.count(value) > 1), None)
        if twice is not None:
            raise ValueError(f"two providers have the {field} {twice!r}")
    return providers


IdentityProviders = Annotated[
    tuple[IdentityProvider, ...], NoDecode, BeforeValidator(_parse), AfterValidator(_check_distinct)
]
