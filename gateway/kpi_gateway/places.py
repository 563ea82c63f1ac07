"""How many requests an upstream has in flight, all together and of one client, and who is next."""

import asyncio
from collections import deque
from contextlib import suppress

from kpi_gateway.upstream import UpstreamBusyError


class _Waiter:
    """``claimed`` once it counts for its client, which it does from when it stands in the line of all."""

    __slots__ = ("claimed", "client", "future")

    def __init__(self, client: str) -> None:
        self.client = client
        self.claimed = False
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Places:
    """``total`` places, of which one client takes ``per_client`` at most: no one can keep an upstream from the others.

    Who finds none waits in line for ``patience`` seconds. Whoever has as many as it may have, those in line included,
    waits in a line of its own, so that it can never push others back.
    """

    def __init__(self, total: int, *, per_client: int, patience: float) -> None:
        self.total = total
        self._per_client = per_client
        self._patience = patience
        self._line: deque[_Waiter] = deque()
        self._own_lines: dict[str, deque[_Waiter]] = {}
        self._claims: dict[str, int] = {}
        self.taken = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        return len(self._line) + sum(map(len, self._own_lines.values()))

    def take_free(self, client: str) -> bool:
        claims = self._claims.get(client, 0)
        if self.taken >= self.total or self._line or claims >= self._per_client:
            return False
        self._claims[client] = claims + 1
        self.taken += 1
        return True

    async def wait(self, client: str) -> None:
        """Raises UpstreamBusyError when no place comes free in time."""
        waiter = _Waiter(client)
        if self._claims.get(client, 0) < self._per_client:
            self._stand_in_line(waiter)
        else:
            self._own_lines.setdefault(client, deque()).append(waiter)
        try:
            async with asyncio.timeout(self._patience):
                await waiter.future
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise UpstreamBusyError(retry_after=1) from None
            raise

    def give_back(self, client: str) -> None:
        """Hand the place to who is next in the line of all; its client may then have another."""
        while self._line:
            waiter = self._line.popleft()
            if not waiter.future.done():
                waiter.future.set_result(None)
                break
        else:
            self.taken -= 1
        self._unclaim(client)

    def _stand_in_line(self, waiter: _Waiter) -> None:
        self._claims[waiter.client] = self._claims.get(waiter.client, 0) + 1
        waiter.claimed = True
        if self.taken < self.total and not self._line:
            self.taken += 1
            waiter.future.set_result(None)
        else:
            self._line.append(waiter)

    def _unclaim(self, client: str) -> None:
        left = self._claims[client] - 1
        if left:
            self._claims[client] = left
        else:
            del self._claims[client]
        own_line = self._own_lines.get(client)
        while own_line:
            waiter = own_line.popleft()
            if not waiter.future.done():
                self._stand_in_line(waiter)
                break
        if not own_line:
            self._own_lines.pop(client, None)

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.future.done() and not waiter.future.cancelled():
            # The place came just when it was given up.
            self.give_back(waiter.client)
            return
        # Whoever gave a place back may have taken it out of its line already.
        with suppress(ValueError):
            (self._line if waiter.claimed else self._own_lines.get(waiter.client, deque())).remove(waiter)
        if waiter.claimed:
            self._unclaim(waiter.client)
        elif not self._own_lines.get(waiter.client, True):
            del self._own_lines[waiter.client]
