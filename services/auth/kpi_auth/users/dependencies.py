"""What the endpoints of users take from a request and from the application."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from kpi_shared.database import MAX_ID, Database, DatabaseOfApp
from kpi_shared.security import CurrentUser
from kpi_shared.tokens import Role

from kpi_auth.attempts.limits import password_limits
from kpi_auth.attempts.service import admit
from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import RequestOrigin
from kpi_auth.mails.outbox import OutboxOfApp
from kpi_auth.passwords.hasher import Hasher
from kpi_auth.users import changes_repository as repository
from kpi_auth.users.changes import Act, EmailRules
from kpi_auth.users.errors import LastAdminError, WrongPasswordError
from kpi_auth.users.etags import IfMatch
from kpi_auth.users.schemas import Deletion

UserId = Annotated[int, Path(ge=1, le=MAX_ID)]
OfDeleted = Annotated[bool | None, Query(description="A deleted user instead of another (admins)")]


async def _act(user_id: UserId, caller: CurrentUser, origin: RequestOrigin, if_match: IfMatch) -> Act:
    return Act(caller, user_id, origin, if_match)


SentAct = Annotated[Act, Depends(_act)]


async def _email_rules(request: Request, outbox: OutboxOfApp) -> EmailRules:
    return EmailRules(signs_in=request.app.state.settings.tells_email, outbox=outbox)


EmailRulesOfApp = Annotated[EmailRules, Depends(_email_rules)]


async def _proven_password(
    act: SentAct, request: Request, database: DatabaseOfApp, hasher: Hasher, sent: Deletion | None = None
) -> str | None:
    """The hash that the caller's password fits, where one is needed; it is checked before the transaction."""
    if not act.is_own:
        return None
    password_hash = await _hash_of(database, act.user_id)
    if sent is None or sent.password is None:
        raise WrongPasswordError
    # Taken first: what cannot be hashed is refused before it costs anything, and counts as no attempt.
    with hasher.place() as place:
        limits = password_limits(request.app.state.settings, act.origin, user_id=act.user_id)
        admission = await admit(database, *limits)
        fits = await hasher.verify(sent.password.get_secret_value(), password_hash, place=place)
    if not fits:
        await _record_refusal(database, act)
        raise WrongPasswordError
    await admission.forgive()
    return password_hash


ProvenPassword = Annotated[str | None, Depends(_proven_password)]


async def _hash_of(database: Database, user_id: int) -> str | None:
    """The hash of the caller's password; LastAdminError where none would be of any use."""
    async with database.reading() as connection:
        row = await repository.credentials(connection, user_id=user_id)
        if row.role == Role.ADMIN and not await repository.is_other_admin(connection, than=user_id):
            raise LastAdminError
    password_hash: str | None = row.password_hash
    return password_hash


async def _record_refusal(database: Database, act: Act) -> None:
    async with database.writing() as connection:
        await act.record(connection, Event.DELETION_REFUSED)
