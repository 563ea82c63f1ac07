"""Which limits there are: each gives first the client's address, then what it is about."""

from collections.abc import Sequence
from datetime import timedelta

from kpi_shared.addresses import client_network

from kpi_auth.attempts.service import Limit
from kpi_auth.audit.origin import CONSOLE, Origin
from kpi_auth.settings import AuthSettings

_HOUR = timedelta(hours=1)


def sign_in_limits(settings: AuthSettings, origin: Origin, *, login: str) -> list[Limit]:
    """For a name or address as it was typed, whether or not anybody has it: the limit must not tell."""
    window = timedelta(seconds=settings.failure_window)
    by_address = _by_address("sign-in from", origin, settings.failures_per_address, window)
    # Whoever guesses from one address shuts out that address, and not the owner everywhere else.
    here = [
        Limit("sign-in of and from", f"{one.of} {login}", settings.failures_per_account_and_address, window)
        for one in by_address
    ]
    return [*by_address, *here, Limit("sign-in of", login, settings.failures_per_account, window)]


def sign_in_keys(settings: AuthSettings, *, logins: Sequence[str]) -> list[bytes]:
    """What counts the failures of an account's names, which its owner may lift by showing who they are."""
    return sorted(sign_in_limits(settings, CONSOLE, login=login)[-1].key for login in logins)


def password_limits(settings: AuthSettings, origin: Origin, *, user_id: int) -> list[Limit]:
    """For a password that somebody who is signed in must show again."""
    window = timedelta(seconds=settings.failure_window)
    own = Limit("password of", str(user_id), settings.failures_per_account_and_address, window)
    return [*_by_address("sign-in from", origin, settings.failures_per_address, window), own]


def identity_limits(settings: AuthSettings, origin: Origin) -> list[Limit]:
    """For tokens of outside identity providers. Whom a token speaks of is known only when it counts."""
    window = timedelta(seconds=settings.failure_window)
    return _by_address("identity from", origin, settings.failures_per_address, window)


def mail_limits(settings: AuthSettings, origin: Origin) -> list[Limit]:
    """For requests that send a mail to whom they name. These count whatever comes of them."""
    return _by_address("mail from", origin, settings.mails_per_address, _HOUR)


def registration_limits(settings: AuthSettings, origin: Origin) -> list[Limit]:
    """For registrations, each of which adds rows and sends a mail to whom it names."""
    return _by_address("registration from", origin, settings.registrations_per_address, _HOUR)


def recipient_limit(most: int, *, email: str) -> Limit:
    """For mails that anybody may have sent to an address. Beyond it none is sent, and nobody is told."""
    return Limit("mail to", email, most, _HOUR)


def _by_address(kind: str, origin: Origin, most: int, window: timedelta) -> list[Limit]:
    if origin.address is None:
        return []
    return [Limit(kind, str(client_network(origin.address)), most, window)]
