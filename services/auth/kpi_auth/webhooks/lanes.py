"""Who sends next: how many events may be under way to each webhook, and to all of them.

A lane goes to the webhook that uses the fewest, and of several to the one whose last turn is longest ago, however old
the events of the others are. A webhook whose last attempt failed or was slow is held back: it gets one lane, and
all of these together get half of the lanes. So receivers that hang or answer late, however many they are, leave the
other half to the rest. One that has not been tried yet gets one lane, too.
"""

from collections import Counter
from collections.abc import Sequence


class Lanes:
    def __init__(self, *, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._used: Counter[int] = Counter()
        # Whether the last attempt at a webhook succeeded, and soon.
        self._good: dict[int, bool] = {}
        self._turns = 0
        self._last_turns: dict[int, int] = {}

    def __len__(self) -> int:
        """How many lanes are in use."""
        return self._used.total()

    def allot(self, waiting: Sequence[int]) -> dict[int, int]:
        """How many deliveries of each of these webhooks may begin now.

        Those that have not had a turn yet come in the order of the list.
        """
        in_turn = sorted(waiting, key=lambda webhook_id: self._last_turns.get(webhook_id, 0))
        used = Counter({webhook_id: self._used[webhook_id] for webhook_id in waiting})
        left, left_for_held_back = self._total - len(self), self._total // 2 - self._count_used_by_held_back()
        allotted: Counter[int] = Counter()
        while left > 0:
            open_to = [
                webhook_id
                for webhook_id in in_turn
                if used[webhook_id] < self._get_most(webhook_id)
                and (left_for_held_back > 0 or not self._is_held_back(webhook_id))
            ]
            if not open_to:
                break
            chosen = min(open_to, key=used.__getitem__)
            used[chosen] += 1
            allotted[chosen] += 1
            left -= 1
            left_for_held_back -= self._is_held_back(chosen)
        return dict(allotted)

    def take(self, webhook_id: int) -> None:
        self._used[webhook_id] += 1
        self._turns += 1
        self._last_turns[webhook_id] = self._turns

    def give_back(self, webhook_id: int) -> None:
        self._used[webhook_id] -= 1
        if not self._used[webhook_id]:
            del self._used[webhook_id]

    def note(self, webhook_id: int, *, is_good: bool) -> None:
        """What came of the last attempt decides how many lanes a webhook may use: was it a success, and soon?"""
        self._good[webhook_id] = is_good

    def _is_held_back(self, webhook_id: int) -> bool:
        return self._good.get(webhook_id) is False

    def _get_most(self, webhook_id: int) -> int:
        return self._each if self._good.get(webhook_id) else 1

    def _count_used_by_held_back(self) -> int:
        return sum(count for webhook_id, count in self._used.items() if self._is_held_back(webhook_id))
