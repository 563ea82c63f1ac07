"""Storages of each driver, a bucket of moto's server, and a stand-in that is out of order."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "kit-files"
MIB = 1024 * 1024


async def chunks(*parts: bytes, error: BaseException | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error is not None:
        raise error


@contextmanager
def run_moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    names = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "not-to-be-seen",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        server.stop()


def bucket_url(endpoint: str, prefix: str) -> str:
    return f"s3://{BUCKET}/{prefix}?region=us-east-1&endpoint={quote(endpoint, safe='')}"


class FailingServer(ThreadingHTTPServer):
    """Responds to the first ``failures`` requests with 503, and to the others with 200 and an empty body."""

    daemon_threads = True
    failures = 0
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _respond(self) -> None:
        server = self.server
        assert isinstance(server, FailingServer)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.requests += 1
        is_failing = server.requests <= server.failures
        body = b"<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>" if is_failing else b""
        self.send_response(503 if is_failing else 200)
        for name, value in {"Content-Length": str(len(body)), "ETag": '"e"'}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = _respond  # noqa: N815 the library's names

    def log_message(self, *_arguments: object) -> None: ...


@contextmanager
def run_failing_server() -> Iterator[FailingServer]:
    server = FailingServer(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class DrippingServer:
    """Sends the beginning of a response to each connection, and then a byte now and then without an end."""

    beginning: bytes
    url: str = ""
    connections: set[asyncio.Task[None]] = field(default_factory=set)
    # A good server from now on, whose files are empty.
    is_good: bool = False
    has_ended: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            if self.is_good:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(RESPONSE % 0)
                return
            writer.write(self.beginning)
            while not self.has_ended:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            return
        finally:
            writer.close()
            self.connections.discard(task)


RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: e\r\nLast-Modified: Sat, 28 Nov 2026 00:00:00 GMT\r\n\r\n"


@asynccontextmanager
async def run_dripping_server(beginning: bytes, *, scheme: str = "http") -> AsyncIterator[DrippingServer]:
    dripping = DrippingServer(beginning)
    server = await asyncio.start_server(dripping.serve, "127.0.0.1", 0)
    dripping.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield dripping
    finally:
        server.close()
        dripping.has_ended = True
        await asyncio.gather(*dripping.connections)
