"""Who is calling: the protections that an endpoint names in its signature.

``CurrentUser`` needs a valid token, ``AdminUser`` an admin's; an endpoint with neither is public.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from kpi_shared.caller import Subject
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.tokens import InvalidTokenError, TokenCodec


async def _tokens(request: Request) -> TokenCodec:
    codec: TokenCodec = request.app.state.tokens
    return codec


Tokens = Annotated[TokenCodec, Depends(_tokens)]

# Who a token speaks for by what is known now, or InvalidTokenError where its session has ended.
SessionCheck = Callable[[Request, Subject], Awaitable[Subject]]


async def verified_subject(request: Request, tokens: TokenCodec, token: str) -> Subject:
    """Who the token speaks for, or InvalidTokenError.

    This is the one place through which every service checks every caller's token. The service that keeps the sessions
    asks its database here; the others trust a token until it expires: what carries revocations to them belongs here.
    """
    subject = tokens.verify(token)
    check: SessionCheck | None = request.app.state.session_check
    return subject if check is None else await check(request, subject)


class _Caller(OAuth2PasswordBearer):
    """The caller as one dependency of FastAPI's: each further one would cost more than to look at the header."""

    def __init__(self) -> None:
        # Services serve at their root; the gateway's merged document rewrites the address of the log-in.
        super().__init__(tokenUrl="/auth/login", auto_error=False, scheme_name="password")

    async def __call__(self, request: Request) -> Subject | None:  # type: ignore[override]
        """The caller, or None where no token was sent. A token that does not count is refused, never ignored."""
        headers = request.headers.getlist("authorization")
        if not headers:
            return None
        scheme, _, token = headers[0].partition(" ")
        if len(headers) > 1 or scheme.lower() != "bearer":
            raise UnauthenticatedError(
                "One Authorization header of the form 'Bearer v4.local...' is needed", invalid=True
            )
        try:
            return await verified_subject(request, request.app.state.tokens, token.strip(" "))
        except InvalidTokenError:
            raise UnauthenticatedError("The access token is not valid or has expired", invalid=True) from None


class _KnownCaller(_Caller):
    async def __call__(self, request: Request) -> Subject:  # type: ignore[override]
        subject = await super().__call__(request)
        if subject is None:
            raise UnauthenticatedError
        return subject


OptionalUser = Annotated[Subject | None, Depends(_Caller())]
CurrentUser = Annotated[Subject, Depends(_KnownCaller())]


async def admin_user(subject: CurrentUser) -> Subject:
    if not subject.is_admin:
        raise ForbiddenError("Only an admin may do this")
    return subject


AdminUser = Annotated[Subject, Depends(admin_user)]
