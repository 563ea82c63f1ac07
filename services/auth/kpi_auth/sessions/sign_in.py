"""Signing in with a password."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from kpi_shared.database import Database, DatabaseOfApp

from kpi_auth.attempts.limits import sign_in_limits
from kpi_auth.attempts.service import Admission, admitted
from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin, RequestOrigin
from kpi_auth.audit.service import record
from kpi_auth.passwords.errors import HashingBusyError
from kpi_auth.passwords.hasher import Hasher, PasswordHasher, Place
from kpi_auth.sessions import sign_in_repository as repository
from kpi_auth.sessions.errors import InvalidCredentialsError
from kpi_auth.sessions.schemas import Credentials, SessionTokens
from kpi_auth.sessions.service import Sessions, SessionsOfApp
from kpi_auth.settings import AuthSettings
from kpi_auth.users import repository as users
from kpi_auth.users.models import Account


class SignIn(NamedTuple):
    """What signing in takes. A hash takes some 20 ms, so no connection is held while one is made."""

    settings: AuthSettings
    database: Database
    hasher: PasswordHasher
    sessions: Sessions
    origin: Origin

    async def with_password(self, credentials: Credentials) -> SessionTokens:
        """A new session; InvalidCredentialsError, TooManyAttemptsError or HashingBusyError otherwise."""
        # Taken first: what cannot be hashed is refused before it costs anything, and counts as no attempt.
        with self.hasher.place() as place:
            admission, found = await self._looked_up(credentials.login)
            password = credentials.password.get_secret_value()
            account = await self._verified(found, password, place)
        tokens = await self._opened(account, password, admission) if account else None
        if tokens is None and account is not None:
            tokens = await self._opened_again(account, password, admission)
        if tokens is None:
            await self._record_failure(found)
            raise InvalidCredentialsError
        return tokens

    async def _looked_up(self, login: str) -> tuple[Admission, Account | None]:
        """The attempt, which counts from now on, and the account that it is for."""
        limits = sign_in_limits(self.settings, self.origin, login=login)
        async with self.database.committing() as connection:
            added, found = await repository.look_up(connection, limits=limits, login=login)
            return await admitted(connection, limits, added, origin=self.origin), found

    async def _verified(self, account: Account | None, password: str, place: Place) -> Account | None:
        """The account, if the password opens it.

        An unknown name costs a hash like a known one, and whether the account may sign in is asked only after the
        password, so that neither the answer nor its time tells who has an account (ASVS 5.0, 6.3.8).
        """
        fits = await self.hasher.verify(password, account.password_hash if account else None, place=place)
        return account if account is not None and fits and account.may_sign_in else None

    async def _opened(self, account: Account, password: str, admission: Admission) -> SessionTokens | None:
        """None if the password was changed, or the account closed, since it was verified."""
        account = await self._strengthened(account, password)
        async with self.database.committing() as connection:
            tokens = await self.sessions.open(connection, account, by="password", origin=self.origin)
            if tokens is not None:
                await repository.settle(
                    connection,
                    admission,
                    user_id=account.id,
                    most=self.sessions.most,
                    lifetimes=self.sessions.lifetimes,
                    origin=self.origin,
                )
            return tokens

    async def _opened_again(self, account: Account, password: str, admission: Admission) -> SessionTokens | None:
        """Once more with the hash of now: another sign-in may just have replaced it by one of the same password."""
        async with self.database.reading() as connection:
            password_hash = await users.hash_of(connection, user_id=account.id)
        if password_hash in {None, account.password_hash} or not await self.hasher.verify(password, password_hash):
            return None
        return await self._opened(account._replace(password_hash=password_hash), password, admission)

    async def _strengthened(self, account: Account, password: str) -> Account:
        """The account with a hash of today's parameters in place of an older one, if there is time to make it."""
        if account.password_hash is None or not self.hasher.is_outdated(account.password_hash):
            return account
        try:
            new = await self.hasher.hash(password)
        except HashingBusyError:
            return account
        async with self.database.writing() as connection:
            await users.replace_hash(connection, user_id=account.id, old=account.password_hash, new=new)
        return account._replace(password_hash=new)

    async def _record_failure(self, account: Account | None) -> None:
        # Not what was typed: people type passwords into the wrong field.
        async with self.database.writing() as connection:
            subject_id = account.id if account else None
            await record(connection, Event.SIGN_IN_FAILED, origin=self.origin, subject_id=subject_id)


async def _sign_in(
    request: Request, database: DatabaseOfApp, hasher: Hasher, sessions: SessionsOfApp, origin: RequestOrigin
) -> SignIn:
    return SignIn(request.app.state.settings, database, hasher, sessions, origin)


SigningIn = Annotated[SignIn, Depends(_sign_in)]
