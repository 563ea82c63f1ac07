"""What the endpoints of users take from a request and from the application."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from kpi_shared.database import MAX_ID, DatabaseOfApp
from kpi_shared.security import CurrentUser

from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import RequestOrigin
from kpi_auth.codes.mailing import CodeMailsOfApp
from kpi_auth.passwords.errors import WrongPasswordError
from kpi_auth.passwords.proof import Proof
from kpi_auth.users import changes_repository as repository
from kpi_auth.users.changes import Act, EmailRules
from kpi_auth.users.errors import LastAdminError
from kpi_auth.users.etags import IfMatch
from kpi_auth.users.schemas import Deletion

UserId = Annotated[int, Path(ge=1, le=MAX_ID)]
OfDeleted = Annotated[bool | None, Query(description="A deleted user instead of another (admins)")]


async def _act(user_id: UserId, caller: CurrentUser, origin: RequestOrigin, if_match: IfMatch) -> Act:
    return Act(caller, user_id, origin, if_match)


SentAct = Annotated[Act, Depends(_act)]


async def _email_rules(request: Request, mails: CodeMailsOfApp) -> EmailRules:
    return EmailRules(signs_in=request.app.state.settings.tells_email, mails=mails)


EmailRulesOfApp = Annotated[EmailRules, Depends(_email_rules)]


async def _proven_password(
    act: SentAct, database: DatabaseOfApp, proof: Proof, sent: Deletion | None = None
) -> str | None:
    """The hash that the caller's password fits, where one is needed; it is checked before the transaction."""
    if not act.is_own:
        return None
    # The last admin needs no password to learn that it would be of no use.
    if act.caller.is_admin:
        async with database.reading() as connection:
            if not await repository.is_other_admin(connection, than=act.user_id):
                raise LastAdminError
    if sent is None or sent.password is None:
        raise WrongPasswordError
    holder = await proof.of(act.user_id, sent.password.get_secret_value(), refused=Event.DELETION_REFUSED)
    return holder.password_hash


ProvenPassword = Annotated[str | None, Depends(_proven_password)]
