"""Why a password or a stored hash is refused. No message quotes either of them."""

from kpi_kit.errors import DriverUnavailableError, KitError


class HashingError(KitError):
    """The base of the errors of hashing."""


class RefusedHashError(HashingError, ValueError):
    """A stored hash that is not verified: no work was done for it."""


class UnknownHashError(RefusedHashError):
    """The stored hash has none of the forms that can be verified."""

    def __init__(self) -> None:
        super().__init__("the form of the hash is not known: argon2, bcrypt and PBKDF2-SHA256 are")


class CostlyHashError(RefusedHashError):
    """To verify the stored hash would cost more time or memory than the ceilings allow."""


class RefusedPasswordError(HashingError, ValueError):
    """The password is no valid text, or is too long to be hashed."""


class HasherBusyError(HashingError, DriverUnavailableError):
    """All threads are busy and all places for waiting are taken."""
