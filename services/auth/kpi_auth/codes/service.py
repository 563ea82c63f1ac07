"""Issuing, redeeming and deleting single-use codes: 256 bits each, stored hashed (ASVS 5.0, 6.5.1 and 6.5.2)."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import NamedTuple

from kpi_shared.database import AnyRow
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.codes import repository
from kpi_auth.codes.errors import InvalidCodeError
from kpi_auth.codes.models import Purpose

LIFETIMES = {
    Purpose.VERIFY_EMAIL: timedelta(hours=24),
    Purpose.CHANGE_EMAIL: timedelta(minutes=15),
    Purpose.RESET_PASSWORD: timedelta(minutes=15),
}


class RedeemedCode(NamedTuple):
    """The user and the purpose of a code, and the address that it was sent to."""

    user_id: int
    purpose: Purpose
    email: str


async def issue(connection: AsyncConnection, *, user_id: int, purpose: Purpose, email: str) -> str:
    """Create a code for an e-mail to ``email``; only its hash is stored."""
    code = secrets.token_urlsafe(32)
    lifetime = LIFETIMES[purpose]
    await repository.add(
        connection, user_id=user_id, purpose=purpose.value, code_hash=_hash(code), email=email, lifetime=lifetime
    )
    return code


async def check(connection: AsyncConnection, *, code: str, purposes: Collection[Purpose]) -> RedeemedCode:
    """The user and the purpose of a code, without consuming it; raises InvalidCodeError."""
    return _require(await repository.peek(connection, code_hash=_hash(code), purposes=_values(purposes)))


async def redeem(connection: AsyncConnection, *, code: str, purposes: Collection[Purpose]) -> RedeemedCode:
    """Consume the code; raises InvalidCodeError if it is unknown, used, expired or for another purpose."""
    return _require(await repository.take(connection, code_hash=_hash(code), purposes=_values(purposes)))


async def forget_all(connection: AsyncConnection, *, user_id: int) -> None:
    """Delete all codes of a user, as is done when the password or the address changes."""
    await repository.forget_all(connection, user_id=user_id)


def _hash(code: str) -> bytes:
    # A slow hash is only needed for secrets that people choose; 256 random bits cannot be guessed.
    return hashlib.sha256(code.encode("utf-8")).digest()


def _values(purposes: Collection[Purpose]) -> list[str]:
    return [purpose.value for purpose in purposes]


def _require(row: AnyRow | None) -> RedeemedCode:
    if row is None:
        raise InvalidCodeError
    return RedeemedCode(row.user_id, Purpose(row.purpose), row.email)
