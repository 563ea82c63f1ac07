"""Signing in with the token of an external identity provider."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from kpi_shared.errors import HAS_EFFECTS
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems

from kpi_auth.accounts.errors import RegistrationClosedError
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.context import CurrentContext
from kpi_auth.identities import supabase
from kpi_auth.identities.errors import (
    InvalidExternalTokenError,
    InvalidSubjectTokenError,
    ProviderUnreachableError,
    TokenExchangeError,
    UnknownProviderError,
)
from kpi_auth.identities.external_sign_in import sign_in_with_token
from kpi_auth.identities.schemas import (
    ACCESS_TOKEN,
    GRANT_TYPE,
    ExchangedTokens,
    SentTokenExchange,
    VerifiedSession,
    VerifiedUser,
)
from kpi_auth.identities.verification import VerifierOfApp
from kpi_auth.oauth.documents import form_body, oauth_problems
from kpi_auth.oauth.routes import TokenRoute
from kpi_auth.responses import no_store
from kpi_auth.settings.providers import IdentityProvider

token_router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)], route_class=TokenRoute)
router = Router(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


async def _find_supabase(verifier: VerifierOfApp) -> IdentityProvider:
    found = verifier.find_by_name(supabase.NAME)
    if found is None:
        raise UnknownProviderError("No Supabase project is configured on this server")
    return found


Supabase = Annotated[IdentityProvider, Depends(_find_supabase)]

_BODY = form_body(
    "TokenExchange",
    example={
        "grant_type": GRANT_TYPE,
        "subject_token": "a token of the identity provider",
        "subject_token_type": ACCESS_TOKEN,
    },
    takes_json=False,
)
_REFUSALS = (TooManyAttemptsError, RegistrationClosedError, ProviderUnreachableError)


@router.get(
    "/verify_supabase_token",
    responses=problems(*_REFUSALS, InvalidExternalTokenError, UnknownProviderError),
    openapi_extra={HAS_EFFECTS: True},
)
async def verify_supabase_token(
    provider: Supabase, request: Request, verifier: VerifierOfApp, context: CurrentContext
) -> VerifiedSession:
    """Sign in with a Supabase access token from ``Authorization: Bearer`` or the cookie ``sb-<ref>-auth-token``."""
    token = supabase.read_token(request, provider)
    if token is None:
        raise InvalidExternalTokenError
    signed_in = await sign_in_with_token(context, verifier=verifier, token=token, only=provider)
    access = signed_in.tokens.access_token
    return VerifiedSession(
        **signed_in.tokens.model_dump(),
        message="The token is valid",
        token=access,
        user=VerifiedUser(id=signed_in.user_id, email=signed_in.email),
        expires_at=context.tokens.verify(access).expires_at,
    )


@token_router.post("/exchange", responses=oauth_problems(*_REFUSALS, TokenExchangeError), openapi_extra=_BODY)
async def exchange_token(sent: SentTokenExchange, verifier: VerifierOfApp, context: CurrentContext) -> ExchangedTokens:
    """Exchange a token of a configured identity provider for a session (RFC 8693)."""
    try:
        signed_in = await sign_in_with_token(context, verifier=verifier, token=sent.subject_token)
    except InvalidExternalTokenError:
        raise InvalidSubjectTokenError from None
    return ExchangedTokens(**signed_in.tokens.model_dump(), issued_token_type=ACCESS_TOKEN)
