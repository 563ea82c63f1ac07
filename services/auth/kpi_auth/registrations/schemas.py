"""What people send to register."""

from typing import Any

from kpi_shared.caller import Role
from pydantic import StrictBool

from kpi_auth.users.schemas import Bio, FullName, UserCreate

_ADMINS = ("role", "is_active")


class Registration(UserCreate):
    """A registration; ``role`` and ``is_active`` are an admin's to set."""

    full_name: FullName | None = None
    bio: Bio | None = None
    role: Role = Role.USER
    is_active: StrictBool = True

    @property
    def admins_fields(self) -> list[str]:
        """The fields that were sent and are an admin's alone."""
        return [name for name in _ADMINS if name in self.model_fields_set]

    def row(self, *, password_hash: str, email_signs_in: bool) -> dict[str, Any]:
        """What the table keeps of it."""
        kept = self.model_dump(exclude={"password"}, mode="json")
        return kept | {"password_hash": password_hash, "email_signs_in": email_signs_in}
