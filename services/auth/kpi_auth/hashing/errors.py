"""What hashing can refuse."""

from kpi_shared.errors import UnavailableError


class HashingBusyError(UnavailableError):
    """More passwords wait to be hashed than the service wants to keep waiting."""

    type = "hashing-busy"
    title = "Too many sign-ins just now"
