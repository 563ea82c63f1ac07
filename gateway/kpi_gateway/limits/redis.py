"""Sliding windows in Redis or Valkey, which replicas of the gateway share.

They use the keys and the arithmetic of the library `limits` 5.8, which itself decides about one policy in each call and
takes a connection for each request: with 200 requests at once these waited for connections until they timed out. Here
one call decides about all policies of all waiting requests (2026-11-27).
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import ClassVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kpi_gateway.limits.memory import Hit, LimitOutcome, Usage

# The server does nothing else while a script runs; this many requests take it a few milliseconds.
_MAX_BATCH = 500

# KEYS are the counts of the current and of the previous window, for each policy of each request in turn. ARGV is, for
# each request, the number of its policies, followed by the quota and the window in milliseconds of each. A count lives
# for two windows, so its remaining life tells its age. The result has, for each request, 1 or 0, and for each of its
# policies three numbers: a Usage, in milliseconds.
_TAKE = """
local results, key, argument = {}, 1, 1
while argument <= #ARGV do
  local first, policies, allowed, usages = key, tonumber(ARGV[argument]), 1, {}
  for i = 1, policies do
    local current, previous = KEYS[key], KEYS[key + 1]
    local quota, window = tonumber(ARGV[argument + 2 * i - 1]), tonumber(ARGV[argument + 2 * i])
    local life = redis.call('PTTL', current)
    if life >= 0 and life <= window then
      redis.call('RENAME', current, previous)
      life = life + window
      redis.call('SET', current, 0, 'PX', life)
    end
    local left = window
    if life > window then left = life - window end
    local usage = {tonumber(redis.call('GET', previous) or 0), tonumber(redis.call('GET', current) or 0), left, window}
    if math.floor(usage[1] * left / window) + usage[2] + 1 > quota then allowed = 0 end
    usages[i] = usage
    key = key + 2
  end
  argument = argument + 1 + 2 * policies
  results[#results + 1] = allowed
  for i, usage in ipairs(usages) do
    if allowed == 1 then
      usage[2] = usage[2] + 1
      redis.call('SET', KEYS[first + 2 * (i - 1)], usage[2], 'PX', usage[3] + usage[4])
    end
    for number = 1, 3 do results[#results + 1] = usage[number] end
  end
end
return results
"""

_Waiter = tuple[Sequence[Hit], "asyncio.Future[LimitOutcome]"]


class RedisWindows:
    """The same counts as MemoryWindows, in a store.

    Requests that arrive while a call is under way are sent together with the next one, so one connection serves them
    all. ``timeout`` in seconds limits one call.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = (RedisError, OSError, TimeoutError)

    def __init__(self, url: str, *, timeout: float) -> None:
        self._client = Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self._script = self._client.register_script(_TAKE)
        self._timeout = timeout
        self._waiters: list[_Waiter] = []
        self._sender: asyncio.Task[None] | None = None

    def take(self, hits: Sequence[Hit]) -> "asyncio.Future[LimitOutcome]":
        """As MemoryWindows.take; fails with one of ``errors`` if the store does not respond."""
        future = asyncio.get_running_loop().create_future()
        self._waiters.append((hits, future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        return future

    async def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
        await self._client.aclose()

    async def _send_all(self) -> None:
        try:
            while self._waiters:
                batch, self._waiters = self._waiters[:_MAX_BATCH], self._waiters[_MAX_BATCH:]
                await self._send_batch(batch)
        finally:
            self._sender = None

    async def _send_batch(self, batch: Sequence[_Waiter]) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                outcomes = await self._run_script([hits for hits, _ in batch])
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                # The request may have been cancelled.
                if not future.done():
                    future.set_result(outcome)
        except Exception as error:  # noqa: BLE001 every error must reach the requests that wait
            # Those in the queue need not wait as long for the same error.
            for _, future in (*batch, *self._waiters):
                if not future.done():
                    future.set_exception(error)
            self._waiters = []

    async def _run_script(self, requests: Sequence[Sequence[Hit]]) -> Iterator[LimitOutcome]:
        keys: list[str] = []
        arguments: list[int] = []
        for hits in requests:
            arguments.append(len(hits))
            for policy, client in hits:
                key = policy.key(client)
                keys += (f"kpi:{{{key}}}", f"kpi:{{{key}}}/-1")
                arguments += (policy.requests, policy.window * 1000)
        return _parse_outcomes(requests, await self._script(keys, arguments))


def _parse_outcomes(requests: Sequence[Sequence[Hit]], results: Sequence[int]) -> Iterator[LimitOutcome]:
    numbers = iter(results)
    for hits in requests:
        allowed = bool(next(numbers))
        yield LimitOutcome(allowed, [Usage(next(numbers), next(numbers), next(numbers) / 1000) for _ in hits])
