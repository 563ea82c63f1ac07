"""The problems of those who follow conversations."""

from kpi_shared.errors import ProblemError


class TooManyStreamsError(ProblemError):
    status = 429
    type = "too-many-streams"
    title = "The account is following as many conversations as it may"
