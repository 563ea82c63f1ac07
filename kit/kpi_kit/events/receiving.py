"""The receiving of a bus, and what the drivers with a server share for it."""

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from kpi_kit.errors import UrlError
from kpi_kit.events.contract import EventDriver
from kpi_kit.events.errors import EventsSchemaError, EventsUnavailableError
from kpi_kit.urls import Url

_GROUP = re.compile(r"[a-z0-9_-]{1,40}")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_STOP_SECONDS = 1.0
log = logging.getLogger(__name__)


class Receiving:
    """The task of a bus that has listeners."""

    def __init__(self, driver: EventDriver) -> None:
        self._driver = driver
        self._task: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._has_no_tables = False

    def begin(self) -> None:
        if self._task is None:
            self._subscribed = asyncio.Event()
            self._task = asyncio.create_task(self._receive(self._subscribed))

    async def wait_until_subscribed(self) -> None:
        """Until the group gets what is dispatched from now on. Returns all the same if the server is away.

        EventsSchemaError while its tables are missing: no waiting would help.
        """
        if self._task is not None:
            await self._subscribed.wait()
        if self._has_no_tables:
            await self._driver.subscribe()
            self._has_no_tables = False

    async def stop(self) -> None:
        """What is being received comes again."""
        task, self._task = self._task, None
        self._has_no_tables = False
        while task is not None and not task.done():
            # Again and again: nats-py swallows some cancellations.
            task.cancel()
            await asyncio.wait({task}, timeout=_STOP_SECONDS)

    async def _receive(self, subscribed: asyncio.Event) -> None:
        try:
            await self._driver.subscribe()
        except EventsUnavailableError as error:
            log.warning(
                "The group of this event bus is not registered yet: it gets events once the server is back (%s)",
                error,
            )
        except EventsSchemaError:
            # The receiving says so in the log, and begins when a migration has run.
            self._has_no_tables = True
        finally:
            subscribed.set()
        await self._driver.receive()


def read_group(url: Url) -> str:
    group = url.options.get("group", "default")
    if not _GROUP.fullmatch(group):
        raise UrlError("the group of an event bus has 1 to 40 lower case letters, digits, hyphens and underscores")
    return group


async def run_with_renewals(
    work: Coroutine[Any, Any, None], *, renew: Callable[[], Awaitable[object]], every: float
) -> None:
    """Call ``renew`` every so many seconds until the work is done. If it fails, the work is cancelled."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=every))[0]:
            await renew()
        if task.cancelled():
            # By a listener: as an error of this task, it would end the receiving.
            log.error("An event was not delivered to all: a listener has cancelled the task that it runs in")
        else:
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def repeat_despite_faults(
    step: Callable[[], Awaitable[None]], *, faults: tuple[type[BaseException], ...], what: str
) -> None:
    """Call ``step``, which ends only with an error, until cancelled; pauses grow while it fails at once."""
    pause = _FIRST_PAUSE
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await step()
        except faults as error:
            # Without the library's text, which may quote the address.
            log.warning("%s cannot be received now (%s)", what, type(error).__name__)
        except EventsSchemaError as error:
            log.error("%s cannot be received: %s", what, error)  # noqa: TRY400 the text says all
        pause = _FIRST_PAUSE if loop.time() - began > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 no secret
