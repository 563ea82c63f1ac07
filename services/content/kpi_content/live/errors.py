"""The problems of those who follow conversations."""

from kpi_shared.errors import ProblemError


class TooManyStreamsError(ProblemError):
    status = 429
    type = "too-many-streams"
    title = "The account has too many streams of conversations open: close one first"
