"""Signing in with somebody else's token."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from kpi_shared.database import Database, DatabaseOfApp

from kpi_auth.attempts.limits import identity_limits
from kpi_auth.attempts.service import admit
from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import RequestOrigin
from kpi_auth.audit.service import record
from kpi_auth.identities import repository
from kpi_auth.identities.errors import InvalidForeignTokenError, ProviderUnreachableError
from kpi_auth.identities.providers import IdentityProvider
from kpi_auth.identities.service import Admittance
from kpi_auth.identities.verifier import ForeignIdentity, ForeignTokens, Verifier
from kpi_auth.mails.outbox import OutboxOfApp
from kpi_auth.registrations.errors import RegistrationClosedError
from kpi_auth.sessions.schemas import SessionTokens
from kpi_auth.sessions.service import Sessions, SessionsOfApp


class SignedIn(NamedTuple):
    """``email`` is the account's own, not the token's."""

    user_id: int
    email: str | None
    tokens: SessionTokens


class OutsideSignIn(NamedTuple):
    """What signing in takes. The provider is asked for its keys before any connection is held."""

    database: Database
    verifier: Verifier
    sessions: Sessions
    admittance: Admittance

    async def with_token(self, token: str, *, only: IdentityProvider | None = None) -> SignedIn:
        """A new session; an error of this folder, or TooManyAttemptsError, otherwise."""
        settings, _, origin = self.admittance
        admission = await admit(self.database, *identity_limits(settings, origin), origin=origin)
        try:
            signed_in = await self._opened(await self.verifier.verify(token, only=only))
        except ProviderUnreachableError:
            await admission.forgive(self.database)
            raise
        except InvalidForeignTokenError as refusal:
            await self._record_refusal({"provider": refusal.provider} if refusal.provider else {})
            raise
        except RegistrationClosedError:
            await self._record_refusal({"reason": RegistrationClosedError.type})
            raise
        await admission.forgive(self.database)
        return signed_in

    async def _opened(self, identity: ForeignIdentity) -> SignedIn:
        async with self.database.writing() as connection:
            account = await self.admittance.account_of(connection, identity)
            tokens = await self.sessions.start(connection, account, by=identity.provider, origin=self.admittance.origin)
            if tokens is None:
                raise InvalidForeignTokenError
            email = await repository.email_of(connection, user_id=account.id)
        return SignedIn(account.id, email, tokens)

    async def _record_refusal(self, details: Mapping[str, object]) -> None:
        # In a transaction of its own, which the refusal does not roll back. Nobody has checked what the token says, so
        # nothing of it is kept but which of our providers it named.
        async with self.database.writing() as connection:
            await record(connection, Event.IDENTITY_REFUSED, origin=self.admittance.origin, details=details)


async def _sign_in(
    request: Request,
    database: DatabaseOfApp,
    verifier: ForeignTokens,
    sessions: SessionsOfApp,
    outbox: OutboxOfApp,
    origin: RequestOrigin,
) -> OutsideSignIn:
    return OutsideSignIn(database, verifier, sessions, Admittance(request.app.state.settings, outbox, origin))


SigningInFromOutside = Annotated[OutsideSignIn, Depends(_sign_in)]
