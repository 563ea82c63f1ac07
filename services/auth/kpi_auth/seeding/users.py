"""Accounts with one known password: every tenth is an admin, the first one too.

Their names are their keys: ``seed_user_2`` is the second one in every database.
"""

from typing import Any

from kpi_kit.hashing import HashFunctions
from kpi_shared.caller import Role
from kpi_shared.seeding.factories import NumberedFactory
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import read_repository, write_repository
from kpi_auth.accounts.models import NewAccount
from kpi_auth.users.console import CheckNewUser

PASSWORD = "bees-dance-in-circles"  # noqa: S105 it is printed, and refused in production
NOTE = f"sign in as seed_admin_1 (an admin) or seed_user_2; the password of all seeded accounts is {PASSWORD}"


class UserFactory(NumberedFactory[CheckNewUser]):
    @classmethod
    def describe(cls, number: int) -> dict[str, Any]:
        role = Role.ADMIN if number % 10 == 1 else Role.USER
        username = f"seed_{role}_{number}"
        return {"username": username, "email": f"{username}@example.com", "role": role}


async def seed(connection: AsyncConnection, *, count: int) -> int:
    """Add those of the first ``count`` accounts that are missing, and return how many they were."""
    UserFactory.last_number = 0
    wanted = UserFactory.batch(count)
    taken = await read_repository.find_taken(connection, usernames=[user.username for user in wanted])
    missing = [user for user in wanted if user.username not in taken]
    password_hash = _hash_once()
    added = [await write_repository.add(connection, _make_account(user, password_hash)) for user in missing]
    return sum(row is not None for row in added)


def _make_account(user: CheckNewUser, password_hash: str) -> NewAccount:
    return NewAccount(
        username=user.username,
        email=user.email,
        email_signs_in=True,
        is_verified=True,
        full_name=user.username.replace("_", " ").title(),
        password_hash=password_hash,
        role=user.role,
    )


def _hash_once() -> str:
    """One hash for all: ten thousand would take minutes, and their password is no secret."""
    return HashFunctions().make(PASSWORD)
