"""Why hashing can be refused."""

from kpi_shared.errors import UnavailableError


class HashingBusyError(UnavailableError):
    """All places for hashing and waiting are taken."""

    type = "hashing-busy"
    title = "Too many passwords are being checked; try again shortly"
    is_same_elsewhere = True
    is_overload = True
