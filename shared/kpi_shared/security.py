"""Authentication: the dependencies that protect an endpoint, one name per right.

``ReadAccess`` is for safe methods, ``WriteAccess`` for all others, ``AdminAccess`` for what only admins may do, and
``PersonAccess`` for what decides about an account, which no API key may touch. An endpoint with none of them is public;
``OptionalReadAccess`` and ``OptionalWriteAccess`` are for public endpoints that do more for a known caller. A person's
token has all that the role allows, that of an API key what its scopes allow.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from kpi_shared.caller import Scope, Subject
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.openapi import Access
from kpi_shared.revocations import Revocations
from kpi_shared.tokens import InvalidTokenError, TokenCodec


class ScopeMissingError(ForbiddenError):
    """RFC 6750, section 3.1: the challenge names the scope that is needed."""

    type = "insufficient-scope"
    title = "The scopes of this API key do not allow this"

    def __init__(self, scope: Scope) -> None:
        challenge = f'Bearer realm="kpi-one", error="insufficient_scope", scope="{scope}"'
        super().__init__(f"The API key needs the scope {scope}", headers={"WWW-Authenticate": challenge})


class PersonRequiredError(ForbiddenError):
    type = "person-required"
    title = "This needs a person's sign-in; an API key is not accepted"


def require_person(subject: Subject) -> None:
    """For an endpoint that demands a person for some requests only; ``PersonAccess`` does for all."""
    if subject.scopes is not None:
        raise PersonRequiredError


def require_admin(subject: Subject | None) -> None:
    """For an endpoint that demands an admin for some requests only; ``AdminAccess`` does for all."""
    if subject is None:
        raise UnauthenticatedError
    if not subject.is_admin:
        raise ForbiddenError("Only an admin may do this")


async def _tokens(request: Request) -> TokenCodec:
    codec: TokenCodec = request.app.state.tokens
    return codec


Tokens = Annotated[TokenCodec, Depends(_tokens)]

# Returns the current subject of a token, or raises InvalidTokenError if its session has ended.
SessionCheck = Callable[[Request, Subject], Awaitable[Subject]]


async def verify_token(request: Request, tokens: TokenCodec, token: str) -> Subject:
    """Return the subject of the token, or raise InvalidTokenError.

    Every service checks every token here. The service that stores the sessions queries its database in
    ``session_check``; the others look in ``revocations``, which follow that service. Without either, a token is
    trusted until it expires.
    """
    subject = tokens.verify(token)
    state = request.app.state
    revocations: Revocations | None = state.revocations
    if revocations is not None:
        revocations.check(subject)
    check: SessionCheck | None = state.session_check
    return subject if check is None else await check(request, subject)


def _require_known_revocations(request: Request) -> None:
    """A token that may have been revoked still reads, and changes nothing: RevocationsUnknownError."""
    revocations: Revocations | None = request.app.state.revocations
    if revocations is not None:
        revocations.require_known()


class _OptionalCaller(OAuth2PasswordBearer):
    """The caller, as a single dependency: each further one would cost more than parsing the header."""

    def __init__(self, scope: Scope, access: Access) -> None:
        # Services have no path prefix; the gateway rewrites the address in the merged document.
        super().__init__(
            tokenUrl="/auth/login", refreshUrl="/auth/refresh", auto_error=False, scheme_name=access.scheme
        )
        self._scope = scope
        self._changes = scope is not Scope.READ

    async def __call__(self, request: Request) -> Subject | None:  # type: ignore[override]
        """Return the caller, or None without a token. An invalid token is refused, never ignored."""
        headers = request.headers.getlist("authorization")
        if not headers:
            return None
        scheme, _, token = headers[0].partition(" ")
        if len(headers) > 1 or scheme.lower() != "bearer":
            raise UnauthenticatedError("One Authorization header of the form 'Bearer v4...' is required", invalid=True)
        try:
            subject = await verify_token(request, request.app.state.tokens, token.strip(" "))
        except InvalidTokenError:
            raise UnauthenticatedError("The access token is not valid or has expired", invalid=True) from None
        self._check(subject)
        if self._changes:
            _require_known_revocations(request)
        return subject

    def _check(self, subject: Subject) -> None:
        if subject.scopes is not None and self._scope not in subject.scopes:
            raise ScopeMissingError(self._scope)


class _RequiredCaller(_OptionalCaller):
    async def __call__(self, request: Request) -> Subject:  # type: ignore[override]
        subject = await super().__call__(request)
        if subject is None:
            raise UnauthenticatedError
        return subject


class _Admin(_RequiredCaller):
    def _check(self, subject: Subject) -> None:
        super()._check(subject)
        require_admin(subject)


class _Person(_RequiredCaller):
    def _check(self, subject: Subject) -> None:
        require_person(subject)


OptionalReadAccess = Annotated[Subject | None, Depends(_OptionalCaller(Scope.READ, Access.PUBLIC))]
OptionalWriteAccess = Annotated[Subject | None, Depends(_OptionalCaller(Scope.WRITE, Access.PUBLIC_WRITE))]
ReadAccess = Annotated[Subject, Depends(_RequiredCaller(Scope.READ, Access.READ))]
WriteAccess = Annotated[Subject, Depends(_RequiredCaller(Scope.WRITE, Access.WRITE))]
AdminAccess = Annotated[Subject, Depends(_Admin(Scope.ADMIN, Access.ADMIN))]
PersonAccess = Annotated[Subject, Depends(_Person(Scope.WRITE, Access.PERSON))]
