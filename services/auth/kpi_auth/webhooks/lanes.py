"""Who sends next: how many events may be under way to each webhook, and to all of them.

A webhook whose last attempt failed gets one lane, and all of these together get half of the lanes. So receivers that
hang, however many they are, leave the other half to the rest. One that has not been tried yet gets one lane, too.
"""

from collections import Counter
from collections.abc import Sequence


class Lanes:
    def __init__(self, *, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._used: Counter[int] = Counter()
        # Whether the last attempt at a webhook succeeded.
        self._successes: dict[int, bool] = {}

    def __len__(self) -> int:
        """How many lanes are in use."""
        return self._used.total()

    def allot(self, waiting: Sequence[int]) -> dict[int, int]:
        """How many deliveries of each of these webhooks may begin now; what is first in the list comes first.

        One lane for each, then a second one for each, and so on: a long backlog delays no other webhook.
        """
        free = {webhook_id: self._count_free(webhook_id) for webhook_id in waiting}
        left, left_for_failing = self._total - len(self), self._total // 2 - self._count_used_by_failing()
        allotted: Counter[int] = Counter()
        for _ in range(self._each):
            for webhook_id in waiting:
                is_failing = self._is_failing(webhook_id)
                if left > 0 and free[webhook_id] > allotted[webhook_id] and not (is_failing and left_for_failing <= 0):
                    allotted[webhook_id] += 1
                    left -= 1
                    left_for_failing -= is_failing
        return dict(allotted)

    def take(self, webhook_id: int) -> None:
        self._used[webhook_id] += 1

    def give_back(self, webhook_id: int) -> None:
        self._used[webhook_id] -= 1
        if not self._used[webhook_id]:
            del self._used[webhook_id]

    def note(self, webhook_id: int, *, is_success: bool) -> None:
        """What came of the last attempt decides how many lanes a webhook may use."""
        self._successes[webhook_id] = is_success

    def _is_failing(self, webhook_id: int) -> bool:
        return self._successes.get(webhook_id) is False

    def _count_free(self, webhook_id: int) -> int:
        return (self._each if self._successes.get(webhook_id) else 1) - self._used[webhook_id]

    def _count_used_by_failing(self) -> int:
        return sum(count for webhook_id, count in self._used.items() if self._is_failing(webhook_id))
