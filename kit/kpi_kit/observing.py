"""The hook through which every library of the kit reports its calls, for metrics and spans."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

_NOT_OBSERVED: AbstractContextManager[None] = nullcontext()


class Observer(Protocol):
    """Measures calls. A service of the platform has one: ``kpi_shared.telemetry``."""

    def observe(self, library: str, operation: str, driver: str) -> AbstractContextManager[object]:
        """Entered around one call, such as ``("cache", "get", "redis")``; sees the error that the call raises.

        The names are few and fixed, so they can be labels of a metric: no key, address or user is among them.
        """


def observe(observer: Observer | None, library: str, operation: str, driver: str) -> AbstractContextManager[object]:
    """Without an observer, a context that costs nothing."""
    return _NOT_OBSERVED if observer is None else observer.observe(library, operation, driver)
