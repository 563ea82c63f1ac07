"""What can be wrong with an external token, and with a request to exchange one."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kpi_shared.errors import ProblemError, UnavailableError

# What these endpoints say is for the one who asked (RFC 6749, section 5).
_NOT_STORED = {"Cache-Control": "no-store"}


class InvalidExternalTokenError(ProblemError):
    """The same whatever is wrong with the token, and for an account that may not sign in.

    ``provider`` is whose token it claims to be, where that is one of ours: for the record, not for the answer.
    """

    status = 401
    type = "invalid-foreign-token"
    title = "The token of the identity provider is not valid"

    def __init__(self, provider: str | None = None) -> None:
        challenge = {"WWW-Authenticate": 'Bearer realm="kpi-one", error="invalid_token"'}
        super().__init__(headers=challenge | _NOT_STORED)
        self.provider = provider


class ProviderUnreachableError(UnavailableError):
    """The keys of a provider are needed and cannot be had."""

    type = "identity-provider-unreachable"
    title = "The identity provider cannot be reached just now"


class UnknownProviderError(ProblemError):
    status = 404
    type = "identity-provider-not-configured"
    title = "This server does not know this identity provider"


class TokenExchangeError(ProblemError):
    """A refusal of a token exchange: RFC 6749, section 5.2, as a problem document with OAuth's ``error`` in it."""

    status = 400
    type = "exchange-refused"
    title = "The token exchange is refused"
    error: ClassVar[str] = "invalid_request"

    def __init__(self, detail: str | None = None, *, errors: Sequence[Mapping[str, str]] | None = None) -> None:
        super().__init__(detail, headers=_NOT_STORED, errors=errors)
        self.members = {"error": self.error}


class InvalidTokenExchangeError(TokenExchangeError):
    type = "invalid-exchange"
    title = "The request for a token exchange is not valid"


class UnsupportedGrantTypeError(TokenExchangeError):
    type = "unsupported-grant-type"
    title = "Only token exchange is offered here"
    error = "unsupported_grant_type"


class InvalidScopeError(TokenExchangeError):
    type = "invalid-scope"
    title = "Tokens of this server have no scopes"
    error = "invalid_scope"


class InvalidTargetError(TokenExchangeError):
    type = "invalid-target"
    title = "This server gives no tokens for this target"
    error = "invalid_target"


class InvalidSubjectTokenError(TokenExchangeError):
    """RFC 8693, section 2.2.2: a token that is invalid for any reason is an ``invalid_request``."""

    type = InvalidExternalTokenError.type
    title = InvalidExternalTokenError.title
