"""``tests/rights.txt``: the right that each operation of the platform needs, the one list of what is public."""

from collections.abc import Collection
from pathlib import Path

_TABLE = Path(__file__).parents[3] / "tests" / "rights.txt"
_PREFIX = "/api/v1"
_PUBLIC = {"public", "public-write"}
# Every part has these.
HEALTH = {"GET /health", "GET /health/live", "GET /health/ready", "GET /health/info"}


def read_rights() -> dict[str, str]:
    """The right of each operation, as ``GET /posts``."""
    lines = [line.rpartition(" ") for line in _TABLE.read_text().splitlines() if line and not line.startswith("#")]
    return {operation.strip().replace(_PREFIX, "", 1): right for operation, _, right in lines}


def public_by_table(operations: Collection[str]) -> set[str]:
    """Those of a service's operations that need no token."""
    rights = read_rights()
    return {name for name in operations if rights.get(name) in _PUBLIC}


def for_admins_by_table(operations: Collection[str]) -> set[str]:
    """Those of a service's operations that only an admin may call."""
    rights = read_rights()
    return {name for name in operations if rights.get(name) == "admin"}
