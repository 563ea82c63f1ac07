"""Signing in."""

import secrets
from datetime import timedelta

from kpi_shared.tokens import TokenCodec

from kpi_auth.passwords.hasher import PasswordHasher
from kpi_auth.sessions.errors import InvalidCredentialsError
from kpi_auth.sessions.schemas import AccessToken
from kpi_auth.users.models import Account


async def verified(account: Account | None, *, password: str, hasher: PasswordHasher) -> Account:
    """The account, if the password opens it.

    An unknown name costs a hash like a known one, and whether the account may sign in is asked only after the
    password, so that neither the answer nor its time tells who has an account.
    """
    fits = await hasher.verify(password, account.password_hash if account else None)
    if account is None or not fits or not account.may_sign_in:
        raise InvalidCredentialsError
    return account


async def stronger_hash(account: Account, *, password: str, hasher: PasswordHasher) -> str | None:
    """A new hash, where the account's was made with other parameters than today's."""
    if account.password_hash is None or not hasher.is_outdated(account.password_hash):
        return None
    return await hasher.hash(password)


def open_session(account: Account, *, tokens: TokenCodec, minutes: int) -> AccessToken:
    lifetime = timedelta(minutes=minutes)
    token = tokens.mint(
        user_id=account.id,
        username=account.username,
        role=account.role,
        session_id=secrets.token_urlsafe(16),
        lifetime=lifetime,
    )
    seconds = int(lifetime.total_seconds())
    return AccessToken(access_token=token, token_type="bearer", expires_in=seconds, username=account.username)  # noqa: S106 RFC 6750's word
