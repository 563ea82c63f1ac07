"""Which limits there are: each gives first the client's address, then what it is about."""

from collections.abc import Sequence
from datetime import timedelta

from kpi_shared.addresses import client_network

from kpi_auth.attempts.models import Limit
from kpi_auth.context import Context

_HOUR = timedelta(hours=1)


def sign_in_limits(context: Context, *, login: str) -> list[Limit]:
    """For a name or address as it was typed, whether or not an account has it: the limit must not disclose that."""
    window = timedelta(seconds=context.settings.failure_window)
    by_address = _by_address(context, "sign-in from", context.settings.failures_per_address, window)
    # A client that guesses from one address shuts out that address, and not the owner everywhere else.
    most = context.settings.failures_per_account_and_address
    here = [Limit("sign-in of and from", f"{one.of} {login}", most, window) for one in by_address]
    return [*by_address, *here, _sign_in_limit(context, login)]


def sign_in_keys(context: Context, *, logins: Sequence[str]) -> list[bytes]:
    """What counts the failures of an account's names, which its owner may lift by showing who they are."""
    return sorted(_sign_in_limit(context, login).key for login in logins)


def _sign_in_limit(context: Context, login: str) -> Limit:
    window = timedelta(seconds=context.settings.failure_window)
    return Limit("sign-in of", login, context.settings.failures_per_account, window)


def password_limits(context: Context, *, user_id: int) -> list[Limit]:
    """For a password that a signed-in user must give again."""
    window = timedelta(seconds=context.settings.failure_window)
    own = Limit("password of", str(user_id), context.settings.failures_per_account_and_address, window)
    return [*_by_address(context, "sign-in from", context.settings.failures_per_address, window), own]


def identity_limits(context: Context) -> list[Limit]:
    """For tokens of external identity providers. Whom a token speaks of is known only when it is valid."""
    window = timedelta(seconds=context.settings.failure_window)
    return _by_address(context, "identity from", context.settings.failures_per_address, window)


def mail_limits(context: Context) -> list[Limit]:
    """For requests that send a mail to whom they name. These count whatever comes of them."""
    return _by_address(context, "mail from", context.settings.mails_per_address, _HOUR)


def registration_limits(context: Context) -> list[Limit]:
    """For registrations, each of which adds rows and sends a mail to whom it names."""
    return _by_address(context, "registration from", context.settings.registrations_per_address, _HOUR)


def recipient_limit(context: Context, *, email: str) -> Limit:
    """For mails that any client may have sent to an address. Beyond it none is sent, and the response does not tell."""
    return Limit("mail to", email, context.settings.mails_per_account, _HOUR)


def _by_address(context: Context, kind: str, most: int, window: timedelta) -> list[Limit]:
    if context.origin.address is None:
        return []
    return [Limit(kind, str(client_network(context.origin.address)), most, window)]
