"""Signing in with the token of an outside identity provider."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from kpi_shared.http.openapi import problems
from kpi_shared.security import Tokens

from kpi_auth.answers import no_store
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.identities import supabase
from kpi_auth.identities.errors import (
    ExchangeError,
    InvalidForeignTokenError,
    InvalidSubjectTokenError,
    ProviderUnreachableError,
    UnknownProviderError,
)
from kpi_auth.identities.providers import IdentityProvider
from kpi_auth.identities.schemas import (
    ACCESS_TOKEN,
    EXCHANGE_BODY,
    ExchangedTokens,
    SentExchange,
    VerifiedSession,
    VerifiedUser,
)
from kpi_auth.identities.sign_in import SigningInFromOutside
from kpi_auth.registrations.errors import RegistrationClosedError

router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


async def _supabase(request: Request) -> IdentityProvider:
    providers: tuple[IdentityProvider, ...] = request.app.state.settings.identity_providers
    found = next((provider for provider in providers if provider.name == supabase.NAME), None)
    if found is None:
        raise UnknownProviderError("No Supabase project is configured here")
    return found


Supabase = Annotated[IdentityProvider, Depends(_supabase)]

_REFUSALS = problems(TooManyAttemptsError, RegistrationClosedError, ProviderUnreachableError)


@router.get("/verify_supabase_token", responses=_REFUSALS | problems(InvalidForeignTokenError, UnknownProviderError))
async def verify_supabase_token(
    provider: Supabase, request: Request, sign_in: SigningInFromOutside, codec: Tokens
) -> VerifiedSession:
    """Sign in with Supabase's access token, from ``Authorization: Bearer`` or ``sb-<ref>-auth-token``."""
    token = supabase.token_of(request, provider)
    if token is None:
        raise InvalidForeignTokenError
    signed_in = await sign_in.with_token(token, only=provider)
    access = signed_in.tokens.access_token
    return VerifiedSession(
        **signed_in.tokens.model_dump(),
        message="The token counts",
        token=access,
        user=VerifiedUser(id=signed_in.user_id, email=signed_in.email),
        expires_at=codec.verify(access).expires_at,
    )


@router.post("/exchange", responses=_REFUSALS | problems(ExchangeError), openapi_extra=EXCHANGE_BODY)
async def exchange_token(sent: SentExchange, sign_in: SigningInFromOutside) -> ExchangedTokens:
    """Exchange the token of any configured identity provider for a session here (RFC 8693)."""
    try:
        signed_in = await sign_in.with_token(sent.subject_token)
    except InvalidForeignTokenError:
        raise InvalidSubjectTokenError from None
    return ExchangedTokens(**signed_in.tokens.model_dump(), issued_token_type=ACCESS_TOKEN)
