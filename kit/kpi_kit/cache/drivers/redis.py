"""Values in Redis or Valkey, by cashews' backend over redis-py."""

import asyncio
import re
from collections.abc import Awaitable
from typing import Any, TypeVar

from cashews.backends.redis import Redis
from cashews.exceptions import CacheBackendInteractionError
from redis.exceptions import DataError, RedisError, ResponseError

from kpi_kit.cache.errors import CacheUnavailableError, CacheValueError
from kpi_kit.errors import UrlError
from kpi_kit.urls import Url, read_number

_DEFAULT_TIMEOUT = 1.0
_DEFAULT_CONNECTIONS = 20
_BATCH = 500
_DATABASE = re.compile(r"[0-9]{1,5}")
_FAULTS = (CacheBackendInteractionError, RedisError, OSError, TimeoutError)
# redis-py drops ERR; before its seventh version, Redis says first that it was in a script. All else that a server
# refuses, such as with MISCONF, NOREPLICAS or READONLY, is its state and no mistake of the caller.
_SCRIPT = r"(?:ERR )?(?:Error running script .*@user_script: ?[0-9]+: )?(?:ERR )?"
_TYPE = re.compile(rf"{_SCRIPT}WRONGTYPE")
_MISTAKE = re.compile(rf"{_SCRIPT}(?:WRONGTYPE|value is not an integer|increment)")
# cashews' own gives a time to live to a counter that reaches 1, which is neither each new one nor only a new one.
_INCREMENT = """
local is_new = redis.call("EXISTS", KEYS[1]) == 0
redis.call("INCRBY", KEYS[1], ARGV[1])
if is_new and ARGV[2] ~= "" then redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
return redis.call("GET", KEYS[1])
"""

T = TypeVar("T")


class _Backend(Redis):
    """cashews' backend, with three more commands of its client."""

    async def aclose(self) -> None:
        # Its own calls a method that redis-py has deprecated.
        await self._client.aclose()

    async def increment(self, name: str, amount: int, px: int | None) -> int:
        script = self._client.register_script(_INCREMENT)
        # The number as text: one of Lua has 53 bits.
        return int(await script(keys=[name], args=[amount, "" if px is None else px]))

    async def scan_names(self, cursor: int, start: str) -> tuple[int, list[bytes]]:
        # Its own would decode the names, and one of another program may not be UTF-8.
        found: Any = await self._client.scan(cursor, match=f"{start}*", count=_BATCH)
        return int(found[0]), found[1]

    async def unlink(self, names: list[bytes]) -> None:
        await self._client.unlink(*names)


class RedisDriver:
    is_shared = True

    def __init__(self, url: Url) -> None:
        self._timeout = read_number(url, "timeout", default=_DEFAULT_TIMEOUT, least=0.05, most=60)
        connections = int(read_number(url, "connections", default=_DEFAULT_CONNECTIONS, least=1, most=1000))
        database = url.path.strip("/")
        if not url.host or (database and not _DATABASE.fullmatch(database)):
            raise UrlError("a cache in Redis needs a host and the number of a database: redis://cache:6379/0")
        self._backend = _Backend(
            url.text.partition("?")[0],
            # Otherwise a failed write would look like one that succeeded.
            suppress=False,
            max_connections=connections,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            wait_for_connection_timeout=self._timeout,
            client_name="kpi-cache",
            # With the third version, redis-py (8.1) does not look whether a server has closed an idle connection.
            protocol=2,
            **_read_tls(url),
        )

    async def open(self) -> None:
        # It connects with the first call: a service may start before its cache.
        await self._backend.init()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        await self._backend.aclose()

    async def get(self, name: str) -> bytes | None:
        # As in _bound, without a coroutine for it: this is the call that has to be fast.
        try:
            async with asyncio.timeout(self._timeout):
                found: bytes | None = await self._backend.get_raw(name)
                return found
        except _FAULTS as error:
            if _TYPE.match(str(_find_cause(error))):
                # Not written by this library.
                return None
            raise _explain(error) from None

    async def set(self, name: str, value: bytes, ttl: float | None) -> None:
        await self._bound(self._backend.set_raw(name, value, px=_to_px(ttl)))

    async def add(self, name: str, value: bytes, ttl: float | None) -> bool:
        return bool(await self._bound(self._backend.set_raw(name, value, px=_to_px(ttl), nx=True)))

    async def delete(self, name: str, *, value: bytes | None = None) -> bool:
        call = self._backend.delete(name) if value is None else self._backend.unlock(name, value)
        return bool(await self._bound(call))

    async def increment(self, name: str, amount: int, ttl: float | None) -> int:
        return await self._bound(self._backend.increment(name, amount, _to_px(ttl)))

    async def clear(self, start: str) -> None:
        cursor = 0
        while True:
            cursor, names = await self._bound(self._backend.scan_names(cursor, start))
            if names:
                await self._bound(self._backend.unlink(names))
            if not cursor:
                return

    async def _bound(self, call: Awaitable[T]) -> T:
        """The timeout of a socket would begin anew with each piece that a slow server sends."""
        try:
            async with asyncio.timeout(self._timeout):
                return await call
        except _FAULTS as error:
            raise _explain(error) from None


def _explain(error: BaseException) -> Exception:
    """Without the library's text, which may quote the command with its value, or the address."""
    cause = _find_cause(error)
    if isinstance(cause, DataError) or (isinstance(cause, ResponseError) and _MISTAKE.match(str(cause))):
        return CacheValueError("Redis cannot do this with what is stored: it is not a counter, or has another type")
    return CacheUnavailableError(f"Redis did not respond, or cannot handle this now ({type(cause).__name__})")


def _find_cause(error: BaseException) -> BaseException | None:
    return error.__cause__ if isinstance(error, CacheBackendInteractionError) else error


def _read_tls(url: Url) -> dict[str, Any]:
    ca_file = url.options.get("ca_file")
    if ca_file and url.scheme != "rediss":
        raise UrlError("ca_file has a meaning with rediss:// only")
    return {"ssl_ca_certs": ca_file} if ca_file else {}


def _to_px(ttl: float | None) -> int | None:
    return None if ttl is None else max(1, int(ttl * 1000))


create_driver = RedisDriver
