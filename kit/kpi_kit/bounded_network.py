"""The network under a connection of httpcore 1.0 to a server that may be hostile.

httpcore's own reads 64 KiB at a time, which h11 parses without giving way to other tasks; it reads without an end what
comes before a status; and a connection that is cancelled during its TLS handshake stays open until the garbage
collector finds it. httpx 0.28 lets no other be set but in its private pool, so kpi_kit.posting calls httpcore itself.
"""

import asyncio
import ssl
from collections.abc import Iterable

import httpcore

# All of a response: its head, all interim ones before it, and what is read of its body.
MOST_READ = 32 * 1024
# h11 needs at most some milliseconds for this many bytes.
_PIECE = 1024


class BoundedNetwork(httpcore.AnyIOBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 httpcore's own
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await super().connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._left = MOST_READ

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 as above
        # What TLS has decrypted already would come without giving way.
        await asyncio.sleep(0)
        if self._left <= 0:
            raise httpcore.ReadError(f"the response has more than {MOST_READ // 1024} KiB")
        data = await self._inner.read(min(max_bytes, _PIECE), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 as above
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await asyncio.shield(self._inner.aclose())

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 as above
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            await self.aclose()
            raise

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)
