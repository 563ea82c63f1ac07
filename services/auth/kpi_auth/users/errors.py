"""Errors about users."""

from collections.abc import Iterable

from kpi_shared.errors import ForbiddenError, ProblemError


class NotYourAccountError(ForbiddenError):
    type = "not-your-account"
    title = "Only the owner or an admin may change an account"


class FieldNotYoursError(ForbiddenError):
    """Names each field, so that the client knows that nothing was set."""

    type = "field-not-yours"
    title = "You may not set this field"

    def __init__(self, names: Iterable[str], *, at: str = "body") -> None:
        errors = [{"pointer": f"#/{at}/{name}", "detail": _hint(name), "type": "not_yours"} for name in names]
        super().__init__("; ".join(f"{item['pointer']}: {item['detail']}" for item in errors), errors=errors)


def _hint(name: str) -> str:
    return "change it with POST /auth/change-email" if name == "email" else "is for admins only"


class LastAdminError(ProblemError):
    status = 409
    type = "last-admin"
    title = "This user is the last active admin: make another user an admin first"


class NotDeletedError(ProblemError):
    status = 409
    type = "not-deleted"
    title = "This user is not deleted"
