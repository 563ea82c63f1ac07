"""What becomes of sessions: they start, are refreshed, and end."""

import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request
from kpi_shared.caller import Role, Subject
from kpi_shared.database import AnyRow, Database
from kpi_shared.tokens import HEADER, InvalidTokenError, KeyRing, TokenCodec
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin
from kpi_auth.audit.service import record, say
from kpi_auth.mails.outbox import Mail, Outbox, Template
from kpi_auth.sessions import repository
from kpi_auth.sessions.ending import NamedSession
from kpi_auth.sessions.errors import InvalidRefreshTokenError
from kpi_auth.sessions.models import EndReason
from kpi_auth.sessions.refresh_tokens import SECRET_BYTES, RefreshToken, RefreshTokens, parse
from kpi_auth.sessions.repository import Lifetimes
from kpi_auth.sessions.schemas import SessionList, SessionShown, SessionTokens
from kpi_auth.sessions.standing import session_number
from kpi_auth.settings import AuthSettings
from kpi_auth.users.models import Account


class Sessions:
    """Starts sessions and refreshes them."""

    def __init__(self, settings: AuthSettings, *, codec: TokenCodec, outbox: Outbox) -> None:
        self.lifetimes = Lifetimes(
            idle=timedelta(days=settings.session_idle_days),
            absolute=timedelta(days=settings.session_absolute_days),
            grace=timedelta(seconds=settings.refresh_grace_seconds),
        )
        self.most = settings.session_limit
        self._access = timedelta(minutes=settings.access_token_expire_minutes)
        self._codec = codec
        self._refresh = RefreshTokens(KeyRing.of(settings))
        self._outbox = outbox

    async def start(
        self, connection: AsyncConnection, account: Account, *, by: str, origin: Origin
    ) -> SessionTokens | None:
        """Open a session; the oldest one too many ends. None as ``open`` has it."""
        tokens = await self.open(connection, account, by=by, origin=origin)
        if tokens is not None:
            await repository.end_oldest(
                connection, user_id=account.id, most=self.most, lifetimes=self.lifetimes, origin=origin
            )
        return tokens

    async def open(
        self, connection: AsyncConnection, account: Account, *, by: str, origin: Origin
    ) -> SessionTokens | None:
        """Open a session, whatever the number of those that there are; ``by`` is what showed who it is.

        None if the account was closed meanwhile or, where it comes with a hash, if its password was changed.
        """
        secret = secrets.token_bytes(SECRET_BYTES)
        row = await repository.open_(connection, account=account, secret=secret, by=by, origin=origin)
        if row is None:
            return None
        say(Event.SIGNED_IN, origin=origin, actor_id=account.id, subject_id=account.id, session_id=row.id, by=by)
        now = account._replace(username=row.username, role=Role(row.role))
        return self._tokens(now, session_id=row.id, counter=0, secret=secret, left=self.lifetimes.absolute)

    async def refresh(self, database: Database, text: str, *, origin: Origin) -> SessionTokens:
        """The next pair of tokens, or InvalidRefreshTokenError.

        RFC 9700, section 4.14.2: a token that was used before ends its session, since one of the two who hold it is not
        its owner. The exception is the last one used, within the grace period: it gets the same successor again.
        """
        token = parse(text)
        async with database.committing() as connection:
            tokens = await self._moved(connection, token, origin)
        if tokens is None:
            async with database.writing() as connection:
                tokens = await self._judged(connection, token, origin)
        if tokens is None:
            raise InvalidRefreshTokenError
        return tokens

    async def living(self, connection: AsyncConnection, *, user_id: int, caller: Subject) -> SessionList:
        """Where the user is signed in."""
        current = session_number(caller)
        rows = await repository.living(connection, user_id=user_id, current=current, lifetimes=self.lifetimes)
        return SessionList(items=[SessionShown.model_validate(row, from_attributes=True) for row in rows], next=None)

    async def named_by(self, database: Database, text: str) -> NamedSession | None:
        """The session of a genuine refresh or access token, whether or not either still counts."""
        try:
            if text.startswith(HEADER):
                subject = self._codec.verify(text)
                return NamedSession(session_number(subject), subject.id)
            token = parse(text)
        except (InvalidTokenError, InvalidRefreshTokenError):
            return None
        async with database.reading() as connection:
            row = await repository.key_of(connection, session_id=token.session_id, lifetimes=self.lifetimes)
        if row is None or not self._refresh.is_genuine(token, secret=row.secret):
            return None
        return NamedSession(token.session_id, row.user_id)

    async def _moved(self, connection: AsyncConnection, token: RefreshToken, origin: Origin) -> SessionTokens | None:
        row = await repository.key_of(connection, session_id=token.session_id, lifetimes=self.lifetimes)
        # A made-up token locks nothing and ends nothing.
        if row is None or not self._refresh.is_genuine(token, secret=row.secret):
            raise InvalidRefreshTokenError
        # Made before the counter moves, and handed out only if it does: whoever ends the session changes the same row,
        # so that once they have returned, nothing is made any more.
        tokens = self._tokens_of(row, counter=token.counter + 1) if float(row.seconds_left) > 0 else None
        is_moved = await repository.move(
            connection, session_id=token.session_id, counter=token.counter, lifetimes=self.lifetimes, origin=origin
        )
        return tokens if is_moved else None

    async def _judged(self, connection: AsyncConnection, token: RefreshToken, origin: Origin) -> SessionTokens | None:
        """What becomes of a genuine token that did not move the counter; what it ends stays ended."""
        row = await repository.lock(connection, session_id=token.session_id, lifetimes=self.lifetimes)
        if row is None or row.ended_at is not None:
            return None
        if row.is_expired or not row.is_open:
            reason = EndReason.EXPIRED if row.is_open else EndReason.CLOSED
            await repository.end(connection, user_id=row.user_id, session_id=row.id, reason=reason)
            details = {"reason": reason.value, "session_ids": [row.id]}
            await record(connection, Event.SIGNED_OUT, origin=origin, subject_id=row.user_id, details=details)
            return None
        if token.counter == row.counter - 1 and row.is_fresh:
            return self._tokens_of(row, counter=row.counter)
        if token.counter < row.counter:
            await self._end_reused(connection, row, origin)
        return None

    async def _end_reused(self, connection: AsyncConnection, row: AnyRow, origin: Origin) -> None:
        await repository.end(connection, user_id=row.user_id, session_id=row.id, reason=EndReason.REUSE)
        details = {"session_id": row.id}
        # Who presented it is just what nobody knows.
        await record(connection, Event.REFRESH_REUSED, origin=origin, subject_id=row.user_id, details=details)
        if row.email is not None:
            await self._outbox.put(connection, Mail(Template.SESSIONS_ENDED, row.email, {"username": row.username}))

    def _tokens_of(self, row: AnyRow, *, counter: int) -> SessionTokens:
        account = Account(row.user_id, row.username, Role(row.role), None, may_sign_in=True)
        left = timedelta(seconds=float(row.seconds_left))
        return self._tokens(account, session_id=row.id, counter=counter, secret=row.secret, left=left)

    def _tokens(
        self, account: Account, *, session_id: int, counter: int, secret: bytes, left: timedelta
    ) -> SessionTokens:
        """``left`` is what the session has of its absolute lifetime: no token outlives it."""
        lifetime = min(self._access, left)
        access = self._codec.mint(
            user_id=account.id,
            username=account.username,
            role=account.role,
            session_id=str(session_id),
            lifetime=lifetime,
        )
        return SessionTokens(
            access_token=access,
            token_type="bearer",  # noqa: S106 RFC 6750's word
            expires_in=int(lifetime.total_seconds()),
            refresh_token=self._refresh.make(session_id=session_id, counter=counter, secret=secret),
            refresh_expires_in=int(min(self.lifetimes.idle, left).total_seconds()),
            username=account.username,
        )


async def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


SessionsOfApp = Annotated[Sessions, Depends(_sessions)]
