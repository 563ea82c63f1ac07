"""Errors about external tokens and about token exchange."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kpi_shared.errors import ProblemError, UnavailableError

from kpi_auth.audit.models import RefusalReason

# Responses of these endpoints must not be cached (RFC 6749, section 5).
_NOT_STORED = {"Cache-Control": "no-store"}


class InvalidExternalTokenError(ProblemError):
    """The same whatever is wrong with the token, and for an account that may not sign in.

    ``provider``, the configured provider that the token names, if any, and ``reason`` are for the audit log, not for
    the response.
    """

    status = 401
    type = "invalid-foreign-token"
    title = "The token of the identity provider is not valid"

    def __init__(self, provider: str | None = None, *, reason: RefusalReason = RefusalReason.INVALID_TOKEN) -> None:
        challenge = {"WWW-Authenticate": 'Bearer realm="kpi-one", error="invalid_token"'}
        super().__init__(headers=challenge | _NOT_STORED)
        self.provider = provider
        self.reason = reason


class ProviderUnreachableError(UnavailableError):
    """The keys of a provider are needed but not available."""

    type = "identity-provider-unreachable"
    title = "The identity provider is temporarily unavailable"
    is_same_elsewhere = True


class UnknownProviderError(ProblemError):
    status = 404
    type = "identity-provider-not-configured"
    title = "The identity provider is not configured"


class TokenExchangeError(ProblemError):
    """A refusal of a token exchange: a problem document with the member ``error`` of RFC 6749, section 5.2."""

    status = 400
    type = "exchange-refused"
    title = "The token exchange was refused"
    error: ClassVar[str] = "invalid_request"

    def __init__(self, detail: str | None = None, *, errors: Sequence[Mapping[str, str]] | None = None) -> None:
        super().__init__(detail, headers=_NOT_STORED, errors=errors)
        self.members = {"error": self.error}


class InvalidTokenExchangeError(TokenExchangeError):
    type = "invalid-exchange"
    title = "The token exchange request is not valid"


class UnsupportedGrantTypeError(TokenExchangeError):
    type = "unsupported-grant-type"
    title = "Only the token exchange grant is supported"
    error = "unsupported_grant_type"


class InvalidScopeError(TokenExchangeError):
    type = "invalid-scope"
    title = "Scopes are not supported"
    error = "invalid_scope"


class InvalidTargetError(TokenExchangeError):
    type = "invalid-target"
    title = "The requested audience or resource is not supported"
    error = "invalid_target"


class InvalidSubjectTokenError(TokenExchangeError):
    """RFC 8693, section 2.2.2: an invalid token is an ``invalid_request``, whatever the reason."""

    type = InvalidExternalTokenError.type
    title = InvalidExternalTokenError.title
