"""A server on a real socket whose behaviour each test writes: bytes, silence, resets."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + b'{"id": "a"}'


@dataclass
class Connection:
    """One connection of a client, after the head and body of a request were read."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes
    body: bytes

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection by a RST, not by a FIN."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Until the client goes."""
        await self.reader.read()

    def header(self, name: str) -> str | None:
        for line in self.head.decode().splitlines()[1:]:
            if line.lower().startswith(f"{name.lower()}: "):
                return line.partition(": ")[2]
        return None


Behaviour = Callable[[Connection], Awaitable[None]]


async def answer_well(connection: Connection) -> None:
    await connection.send(OK)


@dataclass
class FaultyServer:
    """``behaviours`` are used one per request; when they are used up, each request gets a good response."""

    behaviours: list[Behaviour] = field(default_factory=list)
    requests: list[Connection] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lines(self) -> list[str]:
        return [each.head.decode().partition("\r\n")[0].removesuffix(" HTTP/1.1") for each in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                connection = Connection(reader, writer, head, b"")
                connection.body = await reader.readexactly(int(connection.header("content-length") or 0))
                self.requests.append(connection)
                self.came.set()
                await (self.behaviours.pop(0) if self.behaviours else answer_well)(connection)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def respond(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """A well-formed response; the names of ``headers`` are written with underscores."""
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Some\r\nContent-Length: {len(body)}\r\n{fields}\r\n"

    async def send(connection: Connection) -> None:
        await connection.send(head.encode() + body)

    return send


def respond_raw(data: bytes, *, close: bool = True) -> Behaviour:
    async def send(connection: Connection) -> None:
        await connection.send(data)
        if close:
            connection.writer.close()

    return send


@asynccontextmanager
async def serving(*behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultyServer]:
    faulty = FaultyServer(list(behaviours))
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", 0, ssl=tls)
    faulty.port = server.sockets[0].getsockname()[1]
    try:
        yield faulty
    finally:
        server.close()
        for each in faulty.requests:
            each.writer.close()
        await server.wait_closed()
