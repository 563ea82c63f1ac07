"""Authentication: the dependencies that protect an endpoint.

``CurrentUser`` requires a valid token, ``AdminUser`` that of an admin. An endpoint with neither is public.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from kpi_shared.caller import Subject
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.openapi import OPTIONAL_SCHEME, SCHEME
from kpi_shared.tokens import InvalidTokenError, TokenCodec


async def _tokens(request: Request) -> TokenCodec:
    codec: TokenCodec = request.app.state.tokens
    return codec


Tokens = Annotated[TokenCodec, Depends(_tokens)]

# Returns the current subject of a token, or raises InvalidTokenError if its session has ended.
SessionCheck = Callable[[Request, Subject], Awaitable[Subject]]


async def verify_token(request: Request, tokens: TokenCodec, token: str) -> Subject:
    """Return the subject of the token, or raise InvalidTokenError.

    Every service checks every token here. The service that stores the sessions queries its database in
    ``session_check``; the others trust a token until it expires. A check for revocations belongs here.
    """
    subject = tokens.verify(token)
    check: SessionCheck | None = request.app.state.session_check
    return subject if check is None else await check(request, subject)


class _OptionalCaller(OAuth2PasswordBearer):
    """The caller, as a single dependency: each further one would cost more than parsing the header."""

    def __init__(self, scheme_name: str = OPTIONAL_SCHEME) -> None:
        # Services have no path prefix; the gateway rewrites the address in the merged document.
        super().__init__(tokenUrl="/auth/login", refreshUrl="/auth/refresh", auto_error=False, scheme_name=scheme_name)

    async def __call__(self, request: Request) -> Subject | None:  # type: ignore[override]
        """Return the caller, or None without a token. An invalid token is refused, never ignored."""
        headers = request.headers.getlist("authorization")
        if not headers:
            return None
        scheme, _, token = headers[0].partition(" ")
        if len(headers) > 1 or scheme.lower() != "bearer":
            raise UnauthenticatedError(
                "One Authorization header of the form 'Bearer v4.local...' is required", invalid=True
            )
        try:
            return await verify_token(request, request.app.state.tokens, token.strip(" "))
        except InvalidTokenError:
            raise UnauthenticatedError("The access token is not valid or has expired", invalid=True) from None


class _RequiredCaller(_OptionalCaller):
    def __init__(self) -> None:
        super().__init__(scheme_name=SCHEME)

    async def __call__(self, request: Request) -> Subject:  # type: ignore[override]
        subject = await super().__call__(request)
        if subject is None:
            raise UnauthenticatedError
        return subject


OptionalUser = Annotated[Subject | None, Depends(_OptionalCaller())]
CurrentUser = Annotated[Subject, Depends(_RequiredCaller())]


async def admin_user(subject: CurrentUser) -> Subject:
    if not subject.is_admin:
        raise ForbiddenError("Only an admin is allowed to do this")
    return subject


AdminUser = Annotated[Subject, Depends(admin_user)]
