"""Asking a signed-in user for the password again (ASVS 5.0, 6.2.3 and 7.5.1)."""

from kpi_auth.accounts import read_repository as accounts
from kpi_auth.accounts.models import PasswordOwner
from kpi_auth.attempts.limits import password_limits
from kpi_auth.attempts.service import admit, forgive
from kpi_auth.audit.models import Event, RefusalReason
from kpi_auth.audit.service import record_own
from kpi_auth.context import Context
from kpi_auth.hashing.askers import Asker
from kpi_auth.passwords.errors import NoPasswordError, WrongPasswordError


async def confirm_password(context: Context, *, user_id: int, password: str, refused: Event) -> PasswordOwner:
    """The account whose password this is; otherwise WrongPasswordError, and the event ``refused`` is recorded.

    The caller must lock the row and compare the hash in its transaction: the password may change in the meantime.
    """
    # Taken first: if no place is free, the request is refused at no cost and is not counted as an attempt.
    with await context.hasher.take_place(Asker.of_user(user_id)) as place:
        admission = await admit(context, *password_limits(context, user_id=user_id))
        async with context.database.reading() as connection:
            owner = await accounts.get_password_owner(connection, user_id=user_id)
        fits = owner is not None and await context.hasher.verify(password, owner.password_hash, place=place)
    if owner is None or not fits:
        reason = _find_reason(owner)
        await _record_refusal(context, refused, user_id, reason)
        raise NoPasswordError if reason is RefusalReason.NO_PASSWORD else WrongPasswordError
    await forgive(context, admission)
    return owner


def _find_reason(owner: PasswordOwner | None) -> RefusalReason:
    if owner is None:
        return RefusalReason.CLOSED
    return RefusalReason.NO_PASSWORD if owner.password_hash is None else RefusalReason.WRONG_PASSWORD


async def _record_refusal(context: Context, refused: Event, user_id: int, reason: RefusalReason) -> None:
    async with context.database.writing() as connection:
        await record_own(context, connection, refused, user_id=user_id, details={"reason": reason.value})
