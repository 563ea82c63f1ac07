"""A hasher for tests."""

from collections import Counter
from collections.abc import Callable

from kpi_kit.hashing.ceilings import Ceilings
from kpi_kit.hashing.functions import HashFunctions
from kpi_kit.hashing.hasher import Hasher, Result
from kpi_kit.hashing.parameters import Parameters
from kpi_kit.observing import Observer

# The least that argon2 allows: a hash takes less than a tenth of a millisecond.
_CHEAP = Parameters(time_cost=1, memory_kib=8, parallelism=1)


class HashFake(Hasher):
    """Makes real but cheap hashes, verifies all known forms, and counts the calls. No password is kept."""

    def __init__(self, *, ceilings: Ceilings | None = None, observer: Observer | None = None) -> None:
        super().__init__(HashFunctions(_CHEAP, ceilings=ceilings), workers=1, observer=observer)
        self._calls: Counter[str] = Counter()

    @property
    def calls(self) -> dict[str, int]:
        """How often ``make`` and ``verify`` have been called."""
        return {operation: self._calls[operation] for operation in ("make", "verify")}

    def assert_made(self, times: int = 1) -> None:
        """AssertionError unless exactly so many hashes were made."""
        assert self._calls["make"] == times, f"{self._calls['make']} hashes were made, not {times}"  # noqa: S101

    def assert_verified(self, times: int = 1) -> None:
        """AssertionError unless exactly so many hashes were verified."""
        assert self._calls["verify"] == times, f"{self._calls['verify']} were verified, not {times}"  # noqa: S101

    async def _run(self, operation: str, family: str, work: Callable[[], Result]) -> Result:
        self._calls[operation] += 1
        return await super()._run(operation, family, work)
