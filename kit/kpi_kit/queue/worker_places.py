"""The places of one worker: how many jobs of which types it may run at once."""

from collections.abc import Sequence


class WorkerPlaces:
    """Each group of types of jobs has ``each`` places, which no other group takes."""

    def __init__(self, groups: Sequence[Sequence[str]], *, each: int) -> None:
        self._groups = groups
        self._each = each
        # The name of each job that runs, by its id.
        self._running: dict[int, str] = {}

    def list_open(self) -> list[str]:
        """The types of which a job may start now."""
        return [name for group in self._groups if not self._is_full(group) for name in group]

    def take(self, job_id: int, name: str) -> None:
        self._running[job_id] = name

    def give_back(self, job_id: int) -> bool:
        """Whether the group was full. A second call for a job does nothing."""
        name = self._running.get(job_id)
        was_full = any(name in group and self._is_full(group) for group in self._groups)
        self._running.pop(job_id, None)
        return was_full

    def _is_full(self, group: Sequence[str]) -> bool:
        return sum(name in group for name in self._running.values()) >= self._each
