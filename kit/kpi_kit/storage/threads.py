"""Blocking calls of a driver, in few threads of its own: slow storage takes none from what else needs some."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


class Threads:
    def __init__(self, count: int = 4) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="kpi-storage")

    async def run(self, function: Callable[P, Result], *arguments: P.args, **keywords: P.kwargs) -> Result:
        """A caller that is cancelled waits for the end of the call, so that it can clean up after it."""
        future = self._begin(partial(function, *arguments, **keywords))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _wait_for(future)
            raise

    async def open(
        self, close: Callable[[Result], object], function: Callable[P, Result], *arguments: P.args, **keywords: P.kwargs
    ) -> Result:
        """As ``run``, for what is to be closed: a caller that is cancelled, or waits no longer, does not get it."""
        opened: list[Result] = []
        is_left = threading.Event()

        def close_opened() -> None:
            # The thread and the loop may both be here, and one of them gets it.
            with suppress(IndexError):
                close(opened.pop())

        def work() -> None:
            opened.append(function(*arguments, **keywords))
            if is_left.is_set():
                close_opened()

        try:
            await self.run(work)
        except BaseException:
            is_left.set()
            close_opened()
            raise
        return opened[0]

    async def finish(self, function: Callable[[], object]) -> None:
        """Clean up, even if the caller is cancelled again, or the threads have ended."""
        try:
            future = self._begin(function)
        except RuntimeError:
            function()
            return
        await _wait_for(future)

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    def _begin(self, function: Callable[[], Result]) -> "asyncio.Future[Result]":
        """RuntimeError after ``close``."""
        return asyncio.get_running_loop().run_in_executor(self._pool, function)


async def _wait_for(future: "asyncio.Future[Result]") -> None:
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    # An error of its own is not of interest any more, but is to be seen as taken.
    if not future.cancelled():
        future.exception()
