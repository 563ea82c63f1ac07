"""The caller of a request, as a verified token names them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Subject:
    """The account that a verified token was issued to."""

    id: int
    username: str
    role: Role
    session_id: str
    token_id: str
    expires_at: datetime

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN
