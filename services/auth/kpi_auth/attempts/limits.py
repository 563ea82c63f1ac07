"""The limits on attempts. Each function returns the client address's limit first, then the more specific ones."""

from collections.abc import Sequence
from datetime import timedelta

from kpi_shared.addresses import client_network

from kpi_auth.attempts.models import Limit
from kpi_auth.context import Context

_HOUR = timedelta(hours=1)


def sign_in_limits(context: Context, *, login: str) -> list[Limit]:
    """For a login as it was typed, whether or not an account has it: the limit must not disclose that."""
    window = timedelta(seconds=context.settings.failure_window)
    by_address = _by_address(context, "sign-in from", context.settings.failures_per_address, window)
    # A client that guesses from one address blocks that address only, not the owner at other addresses.
    return [*by_address, *_limits_here(context, login), _sign_in_limit(context, login)]


def sign_in_keys(context: Context, *, logins: Sequence[str]) -> list[bytes]:
    """The keys under which failures of an account's logins are counted, here and anywhere, in the order of locking.

    Its owner clears them by a password reset.
    """
    here = sorted(limit.key for login in logins for limit in _limits_here(context, login))
    return [*here, *sorted(_sign_in_limit(context, login).key for login in logins)]


def familiar_keys(context: Context, *, logins: Sequence[str]) -> list[bytes]:
    """The keys which say that the owner of these logins has signed in from the client's address."""
    if context.origin.address is None:
        return []
    network = client_network(context.origin.address)
    # Not a limit, but a key as those are: a digest of a kind and of what it is about.
    return sorted(Limit("familiar at", f"{network} {login}", 0, context.lifetimes.idle).key for login in logins)


def _limits_here(context: Context, login: str) -> list[Limit]:
    settings = context.settings
    window = timedelta(seconds=settings.failure_window)
    # Never more than from anywhere: at a familiar address this limit alone holds for the account.
    most = min(settings.failures_per_account_and_address, settings.failures_per_account)
    return [
        Limit("sign-in of and from", f"{one.of} {login}", most, window) for one in _by_address(context, "", 0, window)
    ]


def _sign_in_limit(context: Context, login: str) -> Limit:
    window = timedelta(seconds=context.settings.failure_window)
    return Limit("sign-in of", login, context.settings.failures_per_account, window)


def password_limits(context: Context, *, user_id: int) -> list[Limit]:
    """For a password that a signed-in user must enter again."""
    window = timedelta(seconds=context.settings.failure_window)
    own = Limit("password of", str(user_id), context.settings.failures_per_account_and_address, window)
    return [*_by_address(context, "sign-in from", context.settings.failures_per_address, window), own]


def identity_limits(context: Context) -> list[Limit]:
    """For tokens of external identity providers, by address only: a token's subject is unknown until it is verified."""
    window = timedelta(seconds=context.settings.failure_window)
    return _by_address(context, "identity from", context.settings.failures_per_address, window)


def mail_limits(context: Context) -> list[Limit]:
    """For requests that send a mail to an address in them. They are counted whatever their outcome."""
    return _by_address(context, "mail from", context.settings.mails_per_address, _HOUR)


def registration_limits(context: Context) -> list[Limit]:
    """For registrations, each of which adds rows and sends a mail to the address in it."""
    return _by_address(context, "registration from", context.settings.registrations_per_address, _HOUR)


def recipient_limit(context: Context, *, email: str) -> Limit:
    """For mails to one address, from any client. Beyond it none is sent; the response does not disclose that."""
    return Limit("mail to", email, context.settings.mails_per_account, _HOUR)


def _by_address(context: Context, kind: str, most: int, window: timedelta) -> list[Limit]:
    if context.origin.address is None:
        return []
    return [Limit(kind, str(client_network(context.origin.address)), most, window)]
