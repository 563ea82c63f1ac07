"""Texts of another's repository on a terminal, for which they may have been written."""

from collections.abc import Iterator
from contextlib import contextmanager

from kpi_cli.errors import FailureError
from kpi_cli.stack import terminal


def clean(text: str) -> str:
    """The text without commands to the terminal, and without what is not UTF-8, as a name of a file may be."""
    return terminal.replace_controls(text.encode("utf-8", "replace").decode())


@contextmanager
def clean_failures() -> Iterator[None]:
    """A failure names files, tags and errors of a source."""
    try:
        yield
    except FailureError as failure:
        log = [clean(line) for line in failure.log]
        sentence, fix = clean(failure.sentence), clean(failure.fix)
        raise FailureError(failure.part, sentence, fix=fix, log=log, code=failure.code) from failure
