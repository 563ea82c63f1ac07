"""Asking somebody who is signed in for the password again (ASVS 5.0, 6.2.3 and 7.5.1)."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from kpi_shared.database import Database, DatabaseOfApp

from kpi_auth.attempts.limits import password_limits
from kpi_auth.attempts.service import admit
from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin, RequestOrigin
from kpi_auth.audit.service import record
from kpi_auth.passwords import repository
from kpi_auth.passwords.errors import NoPasswordError, WrongPasswordError
from kpi_auth.passwords.hasher import Hasher, PasswordHasher
from kpi_auth.passwords.repository import Holder
from kpi_auth.settings import AuthSettings


class PasswordProof(NamedTuple):
    settings: AuthSettings
    database: Database
    hasher: PasswordHasher
    origin: Origin

    async def of(self, user_id: int, password: str, *, refused: Event) -> Holder:
        """The account whose password this is; otherwise WrongPasswordError, and ``refused`` is recorded.

        What is done with it belongs in a transaction that holds the row and compares the hash: the password may be
        changed meanwhile.
        """
        # Taken first: what cannot be hashed is refused before it costs anything, and counts as no attempt.
        with self.hasher.place() as place:
            limits = password_limits(self.settings, self.origin, user_id=user_id)
            admission = await admit(self.database, *limits, origin=self.origin)
            async with self.database.reading() as connection:
                holder = await repository.holder_of(connection, user_id=user_id)
            fits = holder is not None and await self.hasher.verify(password, holder.password_hash, place=place)
        if holder is None or not fits:
            await self._record(refused, user_id)
            raise NoPasswordError if holder is not None and holder.password_hash is None else WrongPasswordError
        await admission.forgive(self.database)
        return holder

    async def _record(self, refused: Event, user_id: int) -> None:
        async with self.database.writing() as connection:
            await record(connection, refused, origin=self.origin, actor_id=user_id, subject_id=user_id)


async def _password_proof(
    request: Request, database: DatabaseOfApp, hasher: Hasher, origin: RequestOrigin
) -> PasswordProof:
    return PasswordProof(request.app.state.settings, database, hasher, origin)


Proof = Annotated[PasswordProof, Depends(_password_proof)]
