"""What a driver of the cache does."""

from typing import Protocol


class CacheDriver(Protocol):
    """Stores bytes by name. Each call ends in a bounded time, with CacheUnavailableError if there is no response.

    ``name`` is a key with its prefix, and ``ttl`` is in seconds, above 0; None is without an end. Nothing expired is
    ever seen. What the bytes mean is not the driver's concern: it runs no code that is stored in them.
    """

    # Whether other processes see the same values.
    is_shared: bool

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def get(self, name: str) -> bytes | None: ...

    async def set(self, name: str, value: bytes, ttl: float | None) -> None:
        """Replace value and time to live."""
        ...

    async def add(self, name: str, value: bytes, ttl: float | None) -> bool:
        """Store only what is not there; whether it was stored. Atomic among all who use the same values.

        What has the name of a lock (``keys.is_of_lock``) is not dropped before its time to make room for values.
        """
        ...

    async def delete(self, name: str, *, value: bytes | None = None) -> bool:
        """Whether it was there. With ``value``, only if that is what is stored; atomic."""
        ...

    async def increment(self, name: str, amount: int, ttl: float | None) -> int:
        """The new number; a missing one is 0. Atomic. ``ttl`` is that of a counter that this call creates.

        CacheValueError if what is stored, or the result, is not an integer of 64 bits.
        """
        ...

    async def clear(self, start: str) -> None:
        """Delete all whose name starts like this."""
        ...
