"""Threads for calls that cannot be ended, and that may never come back."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")


def run_in_daemon(function: Callable[[], Result], *, name: str) -> "asyncio.Future[Result]":
    """Run it in a thread of its own, which does not hold the end of the process, as one of an executor would.

    The result is there at the end of the thread: who gives it up has not ended the call, and shields it with
    ``asyncio.shield`` to count the threads. RuntimeError if the system has no thread to give.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def end(set_outcome: Callable[[], None]) -> None:
        if not done.done():
            set_outcome()

    def work() -> None:
        try:
            outcome = partial(done.set_result, function())
        except BaseException as error:  # noqa: BLE001 it is raised where the call is waited for
            outcome = partial(done.set_exception, error)
        # The loop is closed if the process ends meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(end, outcome)

    threading.Thread(target=work, name=name, daemon=True).start()
    return done
