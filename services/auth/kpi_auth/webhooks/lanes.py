"""Who sends next: how many events may be under way to each webhook, and to all of them.

A webhook whose last attempt failed, or that has not been tried yet, gets one lane, and all of these together get half of
the lanes. So receivers that hang, however many they are, leave the other half to those that work.
"""

from collections import Counter
from collections.abc import Sequence


class Lanes:
    def __init__(self, *, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._used: Counter[int] = Counter()
        # The webhooks whose last attempt succeeded.
        self._working: set[int] = set()

    def __len__(self) -> int:
        """How many lanes are in use."""
        return self._used.total()

    def allot(self, waiting: Sequence[int]) -> dict[int, int]:
        """How many deliveries of each of these webhooks may begin now; what is first in the list comes first.

        One lane for each, then a second one for each, and so on: a long backlog delays no other webhook.
        """
        free = Counter({webhook_id: self._count_free(webhook_id) for webhook_id in waiting})
        left, left_for_others = self._total - len(self), self._total // 2 - self._count_used_by_others()
        allotted: Counter[int] = Counter()
        for _ in range(self._each):
            for webhook_id in waiting:
                is_working = webhook_id in self._working
                if left > 0 and free[webhook_id] > allotted[webhook_id] and (is_working or left_for_others > 0):
                    allotted[webhook_id] += 1
                    left -= 1
                    left_for_others -= not is_working
        return dict(allotted)

    def take(self, webhook_id: int) -> None:
        self._used[webhook_id] += 1

    def give_back(self, webhook_id: int) -> None:
        self._used[webhook_id] -= 1
        if not self._used[webhook_id]:
            del self._used[webhook_id]

    def note(self, webhook_id: int, *, is_success: bool) -> None:
        """What came of the last attempt decides how many lanes a webhook may use."""
        if is_success:
            self._working.add(webhook_id)
        else:
            self._working.discard(webhook_id)

    def _count_free(self, webhook_id: int) -> int:
        return (self._each if webhook_id in self._working else 1) - self._used[webhook_id]

    def _count_used_by_others(self) -> int:
        return sum(count for webhook_id, count in self._used.items() if webhook_id not in self._working)
