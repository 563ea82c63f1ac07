"""How much each account may have open at once in this process, so that one does not take what is there for all."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from kpi_shared.errors import ProblemError


class OpenByAccount:
    """What is open, by account; up to ``most`` of each."""

    def __init__(self, most: int, *, refusal: type[ProblemError]) -> None:
        self._most = most
        self._refusal = refusal
        self._open: Counter[int] = Counter()

    def check(self, account_id: int) -> None:
        """The refusal, if the account may open no more."""
        if self._open[account_id] >= self._most:
            raise self._refusal(
                f"An account may have {self._most} open at once in each process", headers={"Retry-After": "1"}
            )

    @contextmanager
    def holding(self, account_id: int) -> Iterator[None]:
        """One is open during the block."""
        self._open[account_id] += 1
        try:
            yield
        finally:
            self._open[account_id] -= 1
            if not self._open[account_id]:
                del self._open[account_id]
