"""Long outputs: JSON that is written as it is made, and a reader that has seen enough."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def until_closed() -> Iterator[None]:
    """End quietly when the reader of standard output has gone, as `head` does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json_list(items: Iterable[Any]) -> None:
    """One JSON list, an item per line."""
    separator = "["
    for item in items:
        sys.stdout.write(f"{separator}\n{json.dumps(item)}")
        separator = ","
    sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


@contextmanager
def on_standard_error() -> Iterator[None]:
    """Let all that the block and its programs print go to standard error, so that a JSON value is alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
