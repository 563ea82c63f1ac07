"""What can be wrong with a user."""

from collections.abc import Iterable

from kpi_shared.errors import ForbiddenError, ProblemError


class NotYourAccountError(ForbiddenError):
    type = "not-your-account"
    title = "Only its owner or an admin may change an account"


class FieldNotYoursError(ForbiddenError):
    """Names each field, so that nobody takes one for set that was not."""

    type = "field-not-yours"
    title = "This field is not yours to set"

    def __init__(self, names: Iterable[str], *, at: str = "body") -> None:
        errors = [{"pointer": f"#/{at}/{name}", "detail": _who_sets(name), "type": "not_yours"} for name in names]
        super().__init__("; ".join(f"{item['pointer']}: {item['detail']}" for item in errors), errors=errors)


def _who_sets(name: str) -> str:
    return "change it by POST /auth/change-email" if name == "email" else "is an admin's alone"


class LastAdminError(ProblemError):
    status = 409
    type = "last-admin"
    title = "This is the last active admin: make another one first"


class NotDeletedError(ProblemError):
    status = 409
    type = "not-deleted"
    title = "This user is not deleted"


class ChangedMeanwhileError(ProblemError):
    """RFC 9110, section 15.5.13; the version there is now stands in its ETag."""

    status = 412
    type = "changed-meanwhile"
    title = "The user is not the version that If-Match names: read it again"
