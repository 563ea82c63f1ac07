"""Opening and refreshing sessions."""

import secrets
import time
from datetime import timedelta
from math import inf

from kpi_shared.caller import Role
from kpi_shared.database import AnyRow
from kpi_shared.deadlines import arrival
from kpi_shared.tokens import HEADER, PUBLIC_HEADER, InvalidTokenError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts.models import Account
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record, write_log_line
from kpi_auth.context import Context
from kpi_auth.mails import outbox
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.sessions import repository
from kpi_auth.sessions.models import EndReason, NamedSession, ReuseSign
from kpi_auth.sessions.repeats import MOST_SUSPICION, Suspicion, judge
from kpi_auth.sessions.schemas import SessionTokens
from kpi_auth.sessions.session_check import session_number
from kpi_auth.tokens.errors import InvalidRefreshTokenError
from kpi_auth.tokens.refresh_tokens import SECRET_BYTES, RefreshToken, parse


async def start(context: Context, connection: AsyncConnection, *, account: Account, by: str) -> SessionTokens | None:
    """Open a session and end the oldest ones beyond the limit; None as for ``open_session``."""
    tokens = await open_session(context, connection, account=account, by=by)
    if tokens is not None:
        await repository.end_oldest(
            connection,
            user_id=account.id,
            most=context.settings.session_limit,
            lifetimes=context.lifetimes,
            origin=context.origin,
        )
    return tokens


async def open_session(
    context: Context, connection: AsyncConnection, *, account: Account, by: str
) -> SessionTokens | None:
    """Open a session without a look at the limit; ``by`` is the way of signing in.

    None if the account was closed in the meantime or, if ``account`` has a hash, if its password was changed.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    row = await repository.add(connection, account=account, secret=secret, by=by, origin=context.origin)
    if row is None:
        return None
    write_log_line(context, Event.SIGNED_IN, actor_id=account.id, subject_id=account.id, session_id=row.id, by=by)
    now = account._replace(username=row.username, role=Role(row.role), version=row.account_version)
    return _make_tokens(context, now, session_id=row.id, counter=0, secret=secret, left=context.lifetimes.absolute)


async def refresh(context: Context, *, token: str) -> SessionTokens:
    """New tokens, or InvalidRefreshTokenError.

    RFC 9700, section 4.14.2: reuse of a token ends its session, since one of the two clients that hold it is not the
    owner's. The exception is the token used last, as long as its successor is unused: it gets the same successor again,
    unless repeats point to a second client.
    """
    started = arrival()
    parsed = parse(token)
    async with context.database.committing() as connection:
        row = await _get_genuine(context, connection, parsed)
        tokens = await _rotate(context, connection, parsed, row)
    if tokens is None:
        found_unused = row.counter == parsed.counter
        async with context.database.writing() as connection:
            tokens = await _handle_out_of_turn(context, connection, parsed, started=-inf if found_unused else started)
    if tokens is None:
        raise InvalidRefreshTokenError
    return tokens


async def find_by_token(context: Context, *, token: str) -> NamedSession | None:
    """The session of a genuine refresh or access token, whether or not either is still valid."""
    try:
        if token.startswith((HEADER, PUBLIC_HEADER)):
            subject = context.tokens.verify(token)
            return NamedSession(session_number(subject), subject.id)
        parsed = parse(token)
    except (InvalidTokenError, InvalidRefreshTokenError):
        return None
    async with context.database.reading() as connection:
        row = await repository.get_key(connection, session_id=parsed.session_id, lifetimes=context.lifetimes)
    if row is None or not context.refresh_tokens.is_genuine(parsed, secret=row.secret):
        return None
    return NamedSession(parsed.session_id, row.user_id)


async def _get_genuine(context: Context, connection: AsyncConnection, token: RefreshToken) -> AnyRow:
    """The session of a genuine token; a forged one locks nothing and ends nothing."""
    row = await repository.get_key(connection, session_id=token.session_id, lifetimes=context.lifetimes)
    if row is None or not context.refresh_tokens.is_genuine(token, secret=row.secret):
        raise InvalidRefreshTokenError
    return row


async def _rotate(
    context: Context, connection: AsyncConnection, token: RefreshToken, row: AnyRow
) -> SessionTokens | None:
    """The successor of the currently valid token; None for any other genuine one."""
    # Made before the counter changes, and returned only if it does: an ending of the session updates the same row, so
    # that no tokens are issued after it.
    tokens = _make_tokens_from_row(context, row, counter=token.counter + 1) if float(row.seconds_left) > 0 else None
    is_advanced = await repository.advance(
        connection,
        session_id=token.session_id,
        counter=token.counter,
        lifetimes=context.lifetimes,
        origin=context.origin,
    )
    return tokens if is_advanced else None


async def _handle_out_of_turn(
    context: Context, connection: AsyncConnection, token: RefreshToken, *, started: float
) -> SessionTokens | None:
    """Repeat the response to the token used last, or end the session of a reused token.

    ``started`` is when the request arrived; this process may have stood still since then.
    """
    row = await repository.lock(connection, session_id=token.session_id, lifetimes=context.lifetimes)
    if row is None or row.ended_at is not None:
        return None
    if row.is_expired or not row.is_open:
        await _end_expired(context, connection, row)
        return None
    has_overlapped = float(row.seconds_since_use) < time.monotonic() - started
    if token.counter == row.counter - 1 and context.lifetimes.grace:
        return await _repeat(context, connection, row, has_overlapped=has_overlapped)
    # A request from before the last refresh has waited here, and its token was valid when it was sent.
    if token.counter < row.counter and not (has_overlapped and context.lifetimes.grace):
        await _end_reused(context, connection, row, sign=ReuseSign.OLDER)
    return None


async def _repeat(
    context: Context, connection: AsyncConnection, row: AnyRow, *, has_overlapped: bool
) -> SessionTokens | None:
    """The same successor again, or None if repeats point to a second client: then the session has ended."""
    suspicion = judge(row, context.origin, has_overlapped=has_overlapped)
    # Where there is no sum yet, an undecided repeat has nothing to keep.
    if suspicion > 0 or (suspicion and row.suspicion):
        total = await repository.add_suspicion(connection, session_id=row.id, suspicion=suspicion)
        if total > MOST_SUSPICION:
            sign = ReuseSign.ELSEWHERE if suspicion is Suspicion.ELSEWHERE else ReuseSign.REPEATED
            await _end_reused(context, connection, row, sign=sign)
            return None
    return _make_tokens_from_row(context, row, counter=row.counter)


async def _end_expired(context: Context, connection: AsyncConnection, row: AnyRow) -> None:
    reason = EndReason.EXPIRED if row.is_open else EndReason.CLOSED
    await repository.end(connection, user_id=row.user_id, session_id=row.id, reason=reason)
    details = {"reason": reason.value, "session_ids": [row.id]}
    await record(context, connection, Event.SIGNED_OUT, subject_id=row.user_id, details=details)


async def _end_reused(context: Context, connection: AsyncConnection, row: AnyRow, *, sign: ReuseSign) -> None:
    await repository.end(connection, user_id=row.user_id, session_id=row.id, reason=EndReason.REUSE)
    # It is unknown which of the two holders sent it.
    details = {"session_id": row.id, "sign": sign.value}
    await record(context, connection, Event.REFRESH_REUSED, subject_id=row.user_id, details=details)
    if row.notice_email is not None:
        mail = Mail(Template.SESSIONS_ENDED, row.notice_email, {"username": row.username})
        await outbox.put(context, connection, mail)


def _make_tokens_from_row(context: Context, row: AnyRow, *, counter: int) -> SessionTokens:
    role = Role(row.role)
    account = Account(row.user_id, row.username, role, None, may_sign_in=True, version=row.account_version)
    left = timedelta(seconds=float(row.seconds_left))
    return _make_tokens(context, account, session_id=row.id, counter=counter, secret=row.secret, left=left)


def _make_tokens(
    context: Context, account: Account, *, session_id: int, counter: int, secret: bytes, left: timedelta
) -> SessionTokens:
    """``left`` is the rest of the session's absolute lifetime: no token outlives it."""
    lifetime = min(context.lifetimes.access, left)
    access = context.tokens.mint(
        user_id=account.id,
        username=account.username,
        role=account.role,
        session_id=str(session_id),
        account_version=account.version,
        lifetime=lifetime,
    )
    return SessionTokens(
        access_token=access,
        token_type="bearer",  # noqa: S106 RFC 6750's term
        expires_in=int(lifetime.total_seconds()),
        refresh_token=context.refresh_tokens.make(session_id=session_id, counter=counter, secret=secret),
        refresh_expires_in=int(min(context.lifetimes.idle, left).total_seconds()),
        username=account.username,
    )
