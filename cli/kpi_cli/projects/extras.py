"""What a project has only when it is asked for."""

from enum import StrEnum


class Extra(StrEnum):
    """A folder of the platform that its parts do without."""

    BENCH = "bench"
    SAMPLE_DATA = "sample-data"
