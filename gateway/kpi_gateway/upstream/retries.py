"""How many requests of one upstream may be repeated at another address."""

# Of all requests, and how many may be repeated at once, such as those that wait at an address when it goes out.
_SHARE = 0.2
_RESERVE = 50.0


class RetryBudget:
    """Allows at most a fifth of the requests to be repeated, so that retries cannot double an overload."""

    __slots__ = ("_counted", "_left")

    def __init__(self) -> None:
        self._left = _RESERVE
        self._counted = 0

    def take(self, requests: int) -> bool:
        """``requests`` is the number of all requests so far."""
        self._left = min(_RESERVE, self._left + (requests - self._counted) * _SHARE)
        self._counted = requests
        if self._left < 1:
            return False
        self._left -= 1
        return True
