"""How often, and how soon, a process that ended on its own is started again."""

from collections import defaultdict

# The pauses before the first, second and third start within the window.
PAUSES = (0.2, 1.0, 3.0)
WINDOW_SECONDS = 60.0


class Restarts:
    """The starts of each process within the last minute."""

    def __init__(self) -> None:
        self._moments: dict[str, list[float]] = defaultdict(list)

    def take_pause(self, name: str, now: float) -> float | None:
        """Count a further start and return the pause before it; None if there were too many in the last minute."""
        recent = [moment for moment in self._moments[name] if moment > now - WINDOW_SECONDS]
        if len(recent) == len(PAUSES):
            return None
        self._moments[name] = [*recent, now]
        return PAUSES[len(recent)]
