"""Signing in with a password. A hash takes about 20 ms, so no connection is held meanwhile."""

from kpi_auth.accounts import read_repository, write_repository
from kpi_auth.accounts.models import Account, LoginState
from kpi_auth.attempts.limits import familiar_keys, sign_in_limits
from kpi_auth.attempts.models import Admission
from kpi_auth.attempts.service import check_added
from kpi_auth.audit.models import Event, RefusalReason
from kpi_auth.audit.service import record
from kpi_auth.context import Context
from kpi_auth.hashing.askers import Asker
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.hashing.hasher import Place
from kpi_auth.sessions import service
from kpi_auth.sessions import sign_in_repository as repository
from kpi_auth.sessions.errors import InvalidCredentialsError
from kpi_auth.sessions.schemas import Credentials, SessionTokens


async def sign_in_with_password(context: Context, *, credentials: Credentials) -> SessionTokens:
    """Open a session; otherwise InvalidCredentialsError, TooManyAttemptsError or HashingBusyError."""
    by = Asker.of(context.origin, login=credentials.login)
    # Taken first: if no place is free, the request is refused at no cost and is not counted as an attempt.
    with await context.hasher.take_place(by) as place:
        admission, found = await _look_up(context, credentials.login)
        matches = await _verify(context, found, credentials, place)
    account = found if found is not None and matches and found.may_sign_in else None
    password = credentials.password.get_secret_value()
    tokens = await _open_session(context, account, password, admission) if account else None
    if tokens is None and account is not None:
        tokens = await _try_again(context, account, password, admission)
    if tokens is None:
        await _record_failure(context, found, login=credentials.login, matches=matches)
        raise InvalidCredentialsError
    context.hasher.welcome(by, place)
    return tokens


async def _look_up(context: Context, login: str) -> tuple[Admission, Account | None]:
    """The attempt, which is now counted, and the account that it is for."""
    limits, familiar = sign_in_limits(context, login=login), familiar_keys(context, logins=[login])
    async with context.database.committing() as connection:
        found = await repository.look_up(connection, limits=limits, familiar=familiar, login=login)
        if found.is_familiar and found.added.keys == len(limits) - 1:
            # Failures at other addresses do not keep the owner out.
            limits.pop()
        admission = await check_added(context, connection, limits=limits, added=found.added)
        return admission._replace(familiar=tuple(familiar)), found.account


async def _verify(context: Context, account: Account | None, credentials: Credentials, place: Place) -> bool:
    """Whether the password is right.

    An unknown name costs a hash as a known one does (see ``hashing.decoys``), and whether the account may sign in is
    checked only after the password, so that neither the response nor its time discloses who has an account (ASVS 5.0,
    6.3.8).
    """
    password = credentials.password.get_secret_value()
    stored = account.password_hash if account else None
    return await context.hasher.verify(password, stored, place=place, login=credentials.login)


async def _open_session(
    context: Context, account: Account, password: str, admission: Admission
) -> SessionTokens | None:
    """None if the password was changed or the account was closed since the verification."""
    account = await _strengthen(context, account, password)
    async with context.database.committing() as connection:
        tokens = await service.open_session(context, connection, account=account, by="password")
        if tokens is not None:
            await repository.settle(
                connection,
                admission,
                user_id=account.id,
                most=context.settings.session_limit,
                lifetimes=context.lifetimes,
                origin=context.origin,
            )
        return tokens


async def _try_again(context: Context, account: Account, password: str, admission: Admission) -> SessionTokens | None:
    """Retry with the current hash: a parallel sign-in may have rehashed the same password."""
    async with context.database.reading() as connection:
        password_hash = await read_repository.get_password_hash(connection, user_id=account.id)
    by = Asker.of_user(account.id)
    if password_hash in {None, account.password_hash}:
        return None
    if not await context.hasher.verify(password, password_hash, by=by):
        return None
    return await _open_session(context, account._replace(password_hash=password_hash), password, admission)


async def _strengthen(context: Context, account: Account, password: str) -> Account:
    """Rehash with the current parameters if the hash is outdated and the hasher is not busy."""
    if account.password_hash is None or not context.hasher.is_outdated(account.password_hash):
        return account
    if context.hasher.is_busy:
        return account
    try:
        new = await context.hasher.hash(password)
    except HashingBusyError:
        return account
    async with context.database.writing() as connection:
        await write_repository.set_password(connection, user_id=account.id, old=account.password_hash, new=new)
    return account._replace(password_hash=new)


async def _record_failure(context: Context, account: Account | None, *, login: str, matches: bool) -> None:
    """Record the reason, which the response does not disclose; the same statements are executed for each reason."""
    # The login is not recorded: people type passwords into the wrong field.
    async with context.database.writing() as connection:
        subject_id = account.id if account else None
        state = await read_repository.get_login_state(connection, login=login, user_id=subject_id)
        details = {"reason": _find_reason(account, state, matches=matches).value}
        await record(context, connection, Event.SIGN_IN_FAILED, subject_id=subject_id, details=details)


def _find_reason(account: Account | None, state: LoginState, *, matches: bool) -> RefusalReason:
    if account is None:
        return RefusalReason.UNCONFIRMED_ADDRESS if state.is_claimed else RefusalReason.UNKNOWN
    if account.password_hash is None:
        return RefusalReason.NO_PASSWORD
    if not matches:
        return RefusalReason.WRONG_PASSWORD
    if account.may_sign_in:
        return RefusalReason.CHANGED_MEANWHILE
    return RefusalReason.DELETED if state.is_deleted else RefusalReason.INACTIVE
