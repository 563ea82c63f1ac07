"""The problem of searches that are too many."""

from kpi_shared.errors import UnavailableError


class SearchBusyError(UnavailableError):
    """All places for searches and totals are taken. Reads by id and pages are not affected."""

    type = "search-busy"
    title = "Too many searches are running; try again shortly"
    is_same_elsewhere = True
    is_overload = True
