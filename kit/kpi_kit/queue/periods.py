"""The times of a cron expression, in UTC."""

from datetime import UTC, datetime

# The library by which procrastinate reads the expressions too.
from croniter import croniter


def is_valid(expression: str) -> bool:
    """An expression of five fields, or six with the seconds last."""
    return bool(croniter.is_valid(expression))


def find_next(expression: str, after: datetime) -> datetime:
    """The first time of the expression after ``after``."""
    return datetime.fromtimestamp(croniter(expression, after.timestamp()).get_next(float), UTC)
