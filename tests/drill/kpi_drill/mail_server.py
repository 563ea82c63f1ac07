"""An SMTP server that takes its time, and counts what it has accepted."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class MailServer:
    """Accepts each mail after ``seconds``; ``accepted`` counts the mails of each recipient."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.accepted: Counter[str] = Counter()
        self.port = 0

    @property
    def doubled(self) -> int:
        """How many mails were accepted again."""
        return sum(count - 1 for count in self.accepted.values())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            await self._talk(reader, writer)
        writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 drill\r\n")
        recipient = ""
        while line := (await reader.readline()).decode().strip():
            word = line[:4].upper()
            if word == "RCPT":
                recipient = line.partition("<")[2].partition(">")[0]
            elif word == "DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                await asyncio.sleep(self._seconds)
                self.accepted[recipient] += 1
            writer.write(b"221 bye\r\n" if word == "QUIT" else b"250 OK\r\n")
            await writer.drain()
            if word == "QUIT":
                return


@asynccontextmanager
async def run_mail_server(seconds: float) -> AsyncIterator[MailServer]:
    server = MailServer(seconds)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
