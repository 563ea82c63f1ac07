"""The response to a registration: the user, and what to do next."""

from fastapi import Response
from kpi_shared.database import AnyRow

from kpi_auth.context import Context
from kpi_auth.mails import outbox
from kpi_auth.registrations.schemas import RegisteredUser
from kpi_auth.responses import ACCEPTED
from kpi_auth.users.schemas import UserPrivate

_SIGN_IN = "Sign in with the username or the e-mail address."
_CONFIRM = "Confirm the e-mail address with the link that is sent to it."


def registered_response(context: Context, row: AnyRow | None) -> Response:
    """``row`` is None if the outcome must not be disclosed."""
    headers = {"Cache-Control": "no-store"}
    if row is None:
        return Response(ACCEPTED.model_dump_json(), 202, headers, "application/json")
    headers["Location"] = f"/users/{row.id}"
    return Response(_make_registered_user(context, row).model_dump_json(), 201, headers, "application/json")


def _make_registered_user(context: Context, row: AnyRow) -> RegisteredUser:
    user = UserPrivate.model_validate(row)
    return RegisteredUser(**user.model_dump(), message=_next_step(context, is_active=user.is_active))


def _next_step(context: Context, *, is_active: bool) -> str:
    """The same whether or not another account has the address, unless the settings disclose that anyway."""
    if not is_active:
        return "The account cannot be used until an admin activates it."
    if not context.settings.discloses_email:
        return f"{_CONFIRM} Until then, sign in with the username."
    return f"{_SIGN_IN} {_CONFIRM}" if outbox.is_enabled(context) else _SIGN_IN
