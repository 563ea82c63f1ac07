"""A hasher for tests."""

from collections import Counter
from collections.abc import Callable
from typing import Self

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

    @classmethod
    def from_url(
        cls, *_: object, ceilings: Ceilings | None = None, observer: Observer | None = None, **_others: object
    ) -> Self:
        """A fake, whatever the URL, so that a test can put this class in the place of the real one."""
        return cls(ceilings=ceilings, observer=observer)

    @property
    def calls(self) -> dict[str, int]:
        """How often ``make`` and ``verify`` have been called."""
        return {operation: self._calls[operation] for operation in ("make", "verify")}

    def assert_made(self, times: int = 1) -> None:
        """AssertionError unless exactly so many hashes were made."""
        if self._calls["make"] != times:
            raise AssertionError(f"{self._calls['make']} hashes were made, not {times}")

    def assert_verified(self, times: int = 1) -> None:
        """AssertionError unless exactly so many hashes were verified."""
        if self._calls["verify"] != times:
            raise AssertionError(f"{self._calls['verify']} were verified, not {times}")

    async def _run(self, operation: str, family: str, work: Callable[[], Result]) -> Result:
        self._calls[operation] += 1
        return await super()._run(operation, family, work)
