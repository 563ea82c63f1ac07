"""Signing in with the token of an external identity provider."""

from typing import Annotated

from fastapi import Depends, Request
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
    TOKEN_EXCHANGE_BODY,
    ExchangedTokens,
    SentTokenExchange,
    VerifiedSession,
    VerifiedUser,
)
from kpi_auth.identities.verification import VerifierOfApp
from kpi_auth.responses import no_store
from kpi_auth.settings.providers import IdentityProvider

router = Router(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


async def _find_supabase(request: Request) -> IdentityProvider:
    providers: tuple[IdentityProvider, ...] = request.app.state.settings.identity_providers
    found = next((provider for provider in providers if provider.name == supabase.NAME), None)
    if found is None:
        raise UnknownProviderError("No Supabase project is configured on this server")
    return found


Supabase = Annotated[IdentityProvider, Depends(_find_supabase)]

_REFUSALS = problems(TooManyAttemptsError, RegistrationClosedError, ProviderUnreachableError)


@router.get("/verify_supabase_token", responses=_REFUSALS | problems(InvalidExternalTokenError, UnknownProviderError))
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


@router.post("/exchange", responses=_REFUSALS | problems(TokenExchangeError), openapi_extra=TOKEN_EXCHANGE_BODY)
async def exchange_token(sent: SentTokenExchange, verifier: VerifierOfApp, context: CurrentContext) -> ExchangedTokens:
    """Exchange a token of a configured identity provider for a session (RFC 8693)."""
    try:
        signed_in = await sign_in_with_token(context, verifier=verifier, token=sent.subject_token)
    except InvalidExternalTokenError:
        raise InvalidSubjectTokenError from None
    return ExchangedTokens(**signed_in.tokens.model_dump(), issued_token_type=ACCESS_TOKEN)
