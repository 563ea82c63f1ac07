"""Sliding windows in Redis or Valkey, which replicas of the gateway share."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from limits.aio.storage import RedisStorage
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kpi_gateway.windows import Hit, Outcome, Usage

STORE_ERRORS = (RedisError, OSError, TimeoutError)
# The server does nothing else while a script runs; this many requests are some milliseconds of it.
_MOST_AT_ONCE = 500

# The library's two scripts in one, for several policies of several requests. KEYS are the counts of this window and of
# the one before, for each policy of each request in turn; ARGV is the number of policies of each request, followed by
# the quota and the window in milliseconds of each. A count lives for two windows, by which the script knows how old it
# is. The answer has for each request 1 or 0, and for each of its policies three numbers: a Usage, in milliseconds.
_TAKE = """
local answer, key, argument = {}, 1, 1
while argument <= #ARGV do
  local first, policies, allowed, usages = key, tonumber(ARGV[argument]), 1, {}
  for i = 1, policies do
    local current, before = KEYS[key], KEYS[key + 1]
    local quota, window = tonumber(ARGV[argument + 2 * i - 1]), tonumber(ARGV[argument + 2 * i])
    local life = redis.call('PTTL', current)
    if life >= 0 and life <= window then
      redis.call('RENAME', current, before)
      life = life + window
      redis.call('SET', current, 0, 'PX', life)
    end
    local left = window
    if life > window then left = life - window end
    local usage = {tonumber(redis.call('GET', before) or 0), tonumber(redis.call('GET', current) or 0), left, window}
    if math.floor(usage[1] * left / window) + usage[2] + 1 > quota then allowed = 0 end
    usages[i] = usage
    key = key + 2
  end
  argument = argument + 1 + 2 * policies
  answer[#answer + 1] = allowed
  for i, usage in ipairs(usages) do
    if allowed == 1 then
      usage[2] = usage[2] + 1
      redis.call('SET', KEYS[first + 2 * (i - 1)], usage[2], 'PX', usage[3] + usage[4])
    end
    for number = 1, 3 do answer[#answer + 1] = usage[number] end
  end
end
return answer
"""

_Waiting = tuple[Sequence[Hit], "asyncio.Future[Outcome]"]


class RedisWindows(RedisStorage):
    """Counts as MemoryWindows does, by the same keys as the library's own strategy on the same server.

    What comes while a question is on its way goes with the next: one connection and one call serve all who ask at the
    same time. ``timeout`` in seconds bounds one call.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        client = Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        # The library's types know of no pool among its options.
        options: dict[str, Any] = {"connection_pool": client.connection_pool}
        super().__init__(f"async+{url}", implementation="redispy", key_prefix="kpi", **options)
        self._client = client
        self._script = client.register_script(_TAKE)
        self._timeout = timeout
        self._waiting: list[_Waiting] = []
        self._sender: asyncio.Task[None] | None = None

    def take(self, hits: Sequence[Hit]) -> "asyncio.Future[Outcome]":
        """As MemoryWindows'; ends with one of STORE_ERRORS where the store does not answer."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((hits, future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return future

    async def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
        await self._client.aclose()

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
                await self._answer(batch)
        finally:
            self._sender = None

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                outcomes = await self._ask([hits for hits, _ in batch])
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                # Who waited may have left.
                if not future.done():
                    future.set_result(outcome)
        except Exception as error:  # noqa: BLE001 whatever it is, it is those who wait that have to know
            # Those behind need not wait as long to learn the same.
            for _, future in (*batch, *self._waiting):
                if not future.done():
                    future.set_exception(error)
            self._waiting = []

    async def _ask(self, requests: Sequence[Sequence[Hit]]) -> Iterator[Outcome]:
        keys: list[str] = []
        arguments: list[int] = []
        for hits in requests:
            arguments.append(len(hits))
            for policy, client in hits:
                key = policy.key(client)
                # The two names that the library gives them.
                keys += (f"kpi:{{{key}}}", f"kpi:{{{key}}}/-1")
                arguments += (policy.requests, policy.window * 1000)
        return _outcomes(requests, await self._script(keys, arguments))


def _outcomes(requests: Sequence[Sequence[Hit]], answer: Sequence[int]) -> Iterator[Outcome]:
    numbers = iter(answer)
    for hits in requests:
        allowed = bool(next(numbers))
        yield Outcome(allowed, [Usage(next(numbers), next(numbers), next(numbers) / 1000) for _ in hits])
