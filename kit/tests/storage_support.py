"""Storages of each driver, a bucket of moto's server, and a stand-in that is out of order."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
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
