"""Signing in with an external token. The provider's keys are fetched before a database connection is taken."""

from collections.abc import Mapping
from typing import NamedTuple

from kpi_shared.caller import Role

from kpi_auth.accounts.errors import RegistrationClosedError
from kpi_auth.accounts.models import Account
from kpi_auth.attempts.limits import identity_limits
from kpi_auth.attempts.service import admit, forgive
from kpi_auth.audit.models import Event, RefusalReason
from kpi_auth.audit.service import record
from kpi_auth.context import Context
from kpi_auth.identities.errors import InvalidExternalTokenError, ProviderUnreachableError
from kpi_auth.identities.service import find_or_create_account
from kpi_auth.identities.verification import ExternalIdentity, Verifier
from kpi_auth.sessions import service as sessions
from kpi_auth.sessions.schemas import SessionTokens
from kpi_auth.settings.providers import IdentityProvider


class SignedIn(NamedTuple):
    """``email`` is the account's, not the token's."""

    user_id: int
    email: str | None
    tokens: SessionTokens


async def sign_in_with_token(
    context: Context, *, verifier: Verifier, token: str, only: IdentityProvider | None = None
) -> SignedIn:
    """Open a session; otherwise an error of this package or TooManyAttemptsError."""
    admission = await admit(context, *identity_limits(context))
    try:
        signed_in = await _open_session(context, await verifier.verify(token, only=only))
    except ProviderUnreachableError:
        await forgive(context, admission)
        raise
    except InvalidExternalTokenError as refusal:
        named = {"provider": refusal.provider} if refusal.provider else {}
        await _record_refusal(context, {"reason": refusal.reason.value, **named})
        raise
    except RegistrationClosedError:
        await _record_refusal(context, {"reason": RegistrationClosedError.type})
        raise
    await forgive(context, admission)
    return signed_in


async def _open_session(context: Context, identity: ExternalIdentity) -> SignedIn:
    async with context.database.writing() as connection:
        row = await find_or_create_account(context, connection, identity=identity)
        account = Account(row.id, row.username, Role(row.role), None, may_sign_in=True, version=row.version)
        tokens = await sessions.start(context, connection, account=account, by=identity.provider)
        if tokens is None:
            raise InvalidExternalTokenError(identity.provider, reason=RefusalReason.CLOSED)
    return SignedIn(account.id, row.email, tokens)


async def _record_refusal(context: Context, details: Mapping[str, object]) -> None:
    # In its own transaction, which the refusal does not roll back. The token is not verified, so nothing of it is
    # recorded except the configured provider that it names.
    async with context.database.writing() as connection:
        await record(context, connection, Event.IDENTITY_REFUSED, details=details)
