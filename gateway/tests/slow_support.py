"""Programs for the test of slow clients, each a process of its own so that none delays another.

``python slow_support.py upstream PORT`` is a service that responds at once; ``python slow_support.py clients PORT`` has
honest clients at a steady rate until standard input ends, and then prints the results as JSON.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Coroutine

# Only honest clients use it: all others connect to the gateway from 127.0.0.1.
ADDRESS = "127.0.0.2"
RATE = 200
# How long a client waits for its response.
_PATIENCE_SECONDS = 5
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
# As large as a page of posts, and larger than a slow reader's window.
_PAGE = _HEAD % 20_000 + b"x" * 20_000
_POST = _HEAD % 700 + b"x" * 700


class _Service(asyncio.Protocol):
    """A service that needs little CPU: it responds to each piece of data, whether head or body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_PAGE if data.startswith(b"GET /posts/large ") else _POST)


async def upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Service, "127.0.0.1", port)
    await server.serve_forever()


async def _ask(port: int, found: Counter[str]) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ADDRESS, 0))
            writer.write(b"GET /posts/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            response = await reader.read()
            writer.close()
    except (OSError, TimeoutError) as error:
        found[type(error).__name__] += 1
    else:
        found[response[9:12].decode() if len(response) > 700 else "incomplete"] += 1


async def clients(port: int) -> None:
    """Each has its own connection, and starts at a fixed time whether or not earlier ones have their responses."""
    loop = asyncio.get_running_loop()
    found: Counter[str] = Counter()
    over = loop.run_in_executor(None, sys.stdin.read)
    began, sent = loop.time(), 0
    async with asyncio.TaskGroup() as group:
        while not over.done():
            group.create_task(_ask(port, found))
            sent += 1
            await asyncio.sleep(began + sent / RATE - loop.time())
    print(json.dumps({"sent": sent, "seconds": loop.time() - began, "found": found}))  # noqa: T201 the result of this program


_PROGRAMS: dict[str, Callable[[int], Coroutine[object, object, None]]] = {"upstream": upstream, "clients": clients}

if __name__ == "__main__":
    asyncio.run(_PROGRAMS[sys.argv[1]](int(sys.argv[2])))
