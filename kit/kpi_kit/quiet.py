"""Keep URLs out of the logs of the libraries that call them: they have tokens in their paths.

urllib3, which requests uses, logs each path at DEBUG; httpcore logs headers, such as the target of a redirect; apprise
2.3 logs URLs and contents at DEBUG, whatever ``secure_logging`` says (looked at in November 2026). Calls of others
through the same libraries are logged as before.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOGGERS = (
    "apprise",
    "httpcore.connection",
    "httpcore.http11",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
_is_quiet: ContextVar[bool] = ContextVar("kpi_kit_is_quiet", default=False)


class _Filter(logging.Filter):
    def filter(self, _record: logging.LogRecord) -> bool:
        return not _is_quiet.get()


_FILTER = _Filter()


@contextmanager
def quiet() -> Iterator[None]:
    """Inside the block, and in the threads that get its context, these libraries log nothing."""
    for name in _LOGGERS:
        # The filter is added once, and acts in such blocks alone.
        logging.getLogger(name).addFilter(_FILTER)
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)
