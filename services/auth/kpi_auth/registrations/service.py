"""What becomes of a registration, and how much of it is told."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from kpi_shared.caller import Subject
from kpi_shared.database import AnyRow, Database, DatabaseOfApp
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.attempts.limits import registration_limits
from kpi_auth.attempts.service import Admission, admit
from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin, RequestOrigin
from kpi_auth.audit.service import record
from kpi_auth.codes.mailing import Addressee, CodeMails, CodeMailsOfApp
from kpi_auth.codes.models import Purpose
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.passwords.hasher import Hasher, PasswordHasher
from kpi_auth.registrations import repository
from kpi_auth.registrations.errors import RegistrationClosedError
from kpi_auth.registrations.schemas import Registration
from kpi_auth.settings import AuthSettings
from kpi_auth.users.changes import check_standing
from kpi_auth.users.changes_repository import guard_admins
from kpi_auth.users.errors import EmailTakenError, FieldNotYoursError, UsernameTakenError
from kpi_auth.users.repository import get_or_raise


class Registrations(NamedTuple):
    """What registering takes. Where the settings keep silent about what is taken, both outcomes do the same work."""

    settings: AuthSettings
    database: Database
    hasher: PasswordHasher
    mails: CodeMails
    origin: Origin

    async def register(self, user: Registration, *, caller: Subject | None) -> AnyRow | None:
        """The new user, or UsernameTakenError or EmailTakenError; None where the answer must not tell."""
        admin = caller if caller is not None and caller.is_admin else None
        self._check_rights(user, admin)
        # The place first: what cannot be hashed is refused before it costs anything, and counts for nothing.
        with self.hasher.place() as place:
            admission = await self._admitted() if admin is None else None
            # Hashed whatever is taken, so that the time does not tell; and before the transaction.
            password_hash = await self.hasher.hash(user.password.get_secret_value(), place=place)
        try:
            shown = await self._added(user, password_hash, admin)
        except (UsernameTakenError, EmailTakenError):
            # Nothing was added and nobody was written to.
            if admission is not None:
                await admission.forgive(self.database)
            raise
        return shown if admin is not None or self.settings.registration_tells_username else None

    async def _added(self, user: Registration, password_hash: str, admin: Subject | None) -> AnyRow | None:
        values = user.row(password_hash=password_hash, email_signs_in=self.settings.tells_email)
        async with self.database.writing() as connection:
            if admin is not None:
                await guard_admins(connection)
                await check_standing(connection, admin)
            told = self.settings.tells_email or admin is not None
            holder = await repository.holder_of(connection, email=user.email, said=told)
            # A told address is not added a second time, whatever it does in the first account.
            refused = holder is not None and told
            user_id = None if refused else await repository.add(connection, values)
            if user_id is None:
                await self._refused(connection, user, admin)
                return None
            await self._welcome(connection, Addressee(user_id, user.username, user.email, holder), user)
            await self._record(connection, user_id, user, admin)
            return await get_or_raise(connection, user_id=user_id)

    async def _admitted(self) -> Admission:
        return await admit(self.database, *registration_limits(self.settings, self.origin), origin=self.origin)

    def _check_rights(self, user: Registration, admin: Subject | None) -> None:
        if admin is not None:
            return
        if self.settings.registration == "closed":
            raise RegistrationClosedError
        if user.admins_fields:
            raise FieldNotYoursError(user.admins_fields)

    async def _refused(self, connection: AsyncConnection, user: Registration, admin: Subject | None) -> None:
        """Say what is taken: to an admin at once, to others as the settings have it."""
        if not await repository.username_is_taken(connection, username=user.username):
            raise EmailTakenError
        if admin is not None or self.settings.registration_tells_username:
            raise UsernameTakenError
        mail = Mail(Template.USERNAME_IN_USE, user.email, {"username": user.username})
        await self.mails.outbox.put(connection, mail)

    async def _welcome(self, connection: AsyncConnection, to: Addressee, user: Registration) -> None:
        if self.mails.outbox.is_open and user.is_active:
            await self.mails.send(connection, Purpose.VERIFY_EMAIL, to)

    async def _record(
        self, connection: AsyncConnection, user_id: int, user: Registration, admin: Subject | None
    ) -> None:
        if admin is None:
            await record(connection, Event.REGISTERED, origin=self.origin, actor_id=user_id, subject_id=user_id)
            return
        details = {"role": user.role.value, "is_active": user.is_active}
        who = {"actor_id": admin.id, "subject_id": user_id}
        await record(connection, Event.USER_CREATED, origin=self.origin, details=details, **who)


async def _registrations(
    request: Request, database: DatabaseOfApp, hasher: Hasher, mails: CodeMailsOfApp, origin: RequestOrigin
) -> Registrations:
    return Registrations(request.app.state.settings, database, hasher, mails, origin)


Registering = Annotated[Registrations, Depends(_registrations)]
