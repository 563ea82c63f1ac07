"""What Ctrl-C means while a command of ``kpi make`` is at work."""

from collections.abc import Iterator
from contextlib import contextmanager

from kpi_cli.errors import KPI, FailureError
from kpi_cli.generate import records
from kpi_cli.layout import Layout

# As shells count it: 128 and the number of SIGINT.
_CODE = 130


@contextmanager
def report(layout: Layout) -> Iterator[None]:
    """FailureError for an interruption, which says whether the files had been written by then: all are, or none."""
    before = records.count(layout)
    try:
        yield
    except KeyboardInterrupt:
        if records.count(layout) > before:
            sentence, fix = "interrupted after all files were written", f"take them back: {KPI} make undo"
        else:
            sentence, fix = "interrupted; nothing was written", ""
        raise FailureError("make", sentence, fix=fix, code=_CODE) from None
