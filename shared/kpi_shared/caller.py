"""The caller of a request, as identified by a verified token."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Subject:
    """The account to which a verified token was issued."""

    id: int
    username: str
    role: Role
    session_id: str
    token_id: str
    expires_at: datetime

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN
