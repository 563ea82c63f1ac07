"""Blocking calls of a driver, in few threads of its own: slow storage takes none from what else needs some."""

import asyncio
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
        future = asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *arguments, **keywords))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _wait_for(future)
            raise

    async def open(
        self, close: Callable[[Result], object], function: Callable[P, Result], *arguments: P.args, **keywords: P.kwargs
    ) -> Result:
        """As ``run``, for what is to be closed: a caller that is cancelled does not get it."""
        opened: list[Result] = []
        try:
            await self.run(lambda: opened.append(function(*arguments, **keywords)))
        except asyncio.CancelledError:
            for result in opened:
                close(result)
            raise
        return opened[0]

    async def finish(self, function: Callable[[], object]) -> None:
        """Clean up, even if the caller is cancelled again, or the threads have ended."""
        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, function)
        except RuntimeError:
            function()
            return
        await _wait_for(future)

    def close(self) -> None:
        self._pool.shutdown(wait=False)


async def _wait_for(future: "asyncio.Future[Result]") -> None:
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    # An error of its own is not of interest any more, but is to be seen as taken.
    if not future.cancelled():
        future.exception()
