"""The invalid requests of gunicorn's tests, sent to a gateway in front of an upstream that records what it receives.

They are taken from gunicorn's source distribution, which is fetched when the test runs; it is skipped if that fails.
"""

import asyncio
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from gateway_support import Wire, gateway, raw_upstream

GUNICORN = "gunicorn==27.0.1 --hash=sha256:b1514965361c8b7e8107a80aa2a92636878df1ccfac6dd204a676426e04d9e3e"
# Requests that are accepted although gunicorn's own settings refuse them, and why.
ACCEPTED = {
    "006": "a request line of 4 KB, which gunicorn bounds at 4,094 bytes and the gateway at 8 KiB",
    "007": "a header of 8 KB: the gateway bounds the whole head, at 64 KiB",
    "008": "as above",
    "011": "three headers, of which that test allows one",
    "012": "the same for the size of a header",
    "040": "Transfer_Encoding and Content_Length with an underscore, which the gateway does not forward",
    "041": "two Content-Type: the service decides which one applies, and neither ends the body",
    "limit_header_default_01": "a header of 8 KB, as above",
    "rfc9112_leading_crlf_02": "empty lines in front of a request (RFC 9112 section 2.2: at least one is ignored)",
}
# Requests that turn out to be invalid in a trailer, when the upstream has the head and may have responded.
UNDERWAY = {f"rfc9110_trailer_forbidden_{name}_01" for name in ("cl", "host", "te")}
# Requests without an end: the server waits for it until its deadline (see test_slow_clients.py).
UNFINISHED = {"001", "pp_01", "pp_02", "pp_03", "rfc9112_chunked_missing_final_crlf_01"}
# Requests that gunicorn accepts, in part by special settings, and the gateway does not.
REFUSED = {
    "013": "white space in a chunk's extension, which is not needed and which programs read differently",
    "024": "a request line over 8 KiB",
    "025": "a coding in addition to chunked is not implemented",
    "025_line": "as above",
    "028": "white space in front of a colon",
    "029": "two Transfer-Encoding",
    "030": "as above",
    "031": "an unknown method",
    "031compat": "as above",
    "031compat2": "as above",
    "compat_obs_fold": "a folded header",
    "compat_obs_fold_huge": "as above",
    "pp_01": "the PROXY protocol",
    "pp_02": "as above",
    "pp_04": "as above",
    "pp_05": "as above",
    "rfc9112_smuggle_gzip_chunked_01": "a coding in addition to chunked is not implemented",
    "rfc9112_smuggle_te_identity_chunked_01": "as above",
}


# Its body has 8,599 of the 17,914 announced bytes: the gateway waits for the rest.
SHORT = {"099"}


class Recorder:
    """An upstream that accepts anything, responds to each head, and records the bytes."""

    def __init__(self) -> None:
        self.bytes = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.bytes += data
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * data.count(b" HTTP/1."))
        writer.close()

    @property
    def requests(self) -> int:
        # However a lenient program might separate them, each has a request line.
        return self.bytes.count(b" HTTP/1.")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``requests`` of gunicorn's tests."""
    folder = tmp_path_factory.mktemp("gunicorn")
    wanted = folder / "requirements.txt"
    wanted.write_text(GUNICORN, encoding="ascii")
    # An environment made by uv has no pip; the Python that it was made from has, since make installed uv with it.
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    command = (
        python,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        "gunicorn",
        "-r",
        wanted,
        "-d",
        folder,
    )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"pip could not be run to fetch gunicorn's source distribution: {error}")
    if done.returncode:
        pytest.skip(f"gunicorn's source distribution could not be fetched: {done.stderr.strip()[-200:]}")
    (archive,) = folder.glob("gunicorn-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return next(folder.glob("gunicorn-*/tests/requests"))


def requests_in(folder: Path) -> dict[str, bytes]:
    return {path.stem: decode(path.read_bytes()) for path in sorted(folder.glob("*.http"))}


def decode(text: bytes) -> bytes:
    """The bytes that the file describes, with a target that the gateway has a route for."""
    text = text.replace(b"\n", b"")
    for written, meant in ((rb"\r\n", b"\r\n"), (rb"\0", b"\0"), (rb"\n", b"\n"), (rb"\t", b"\t")):
        text = text.replace(written, meant)
    text = re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text)
    return re.sub(rb"^((?:\r\n)*\S+ )/", rb"\1/posts/", text)


def with_host(request: bytes) -> bytes:
    """Many of gunicorn's valid requests lack the one header field that RFC 9112 requires."""
    line, end, rest = request.partition(b"\r\n")
    return request if b"\r\nhost:" in request.lower() else line + end + b"Host: a\r\n" + rest


async def send(request: bytes, *, pieces: int) -> tuple[bytes, int]:
    """The beginning of the gateway's response, empty if there is none, and the number of requests at the upstream."""
    recorder = Recorder()
    async with (
        raw_upstream(recorder) as upstream,
        gateway(content_url=upstream, auth_url=upstream) as address,
        await Wire.to(address) as wire,
    ):
        size = -(-len(request) // pieces)
        for at in range(0, len(request), size):
            await wire.send(request[at : at + size])
            # The server runs in this process and can read the data now.
            await asyncio.sleep(0)
        try:
            response = await asyncio.wait_for(wire.reader.read(65536), 0.5)
        except TimeoutError:
            response = b""
    return response, recorder.requests


@pytest.mark.parametrize("pieces", [1, 40])
async def test_requests_that_gunicorn_calls_invalid_are_refused(source: Path, pieces: int) -> None:
    requests = requests_in(source / "invalid")
    assert len(requests) > 50
    wrong = {}
    for name, request in requests.items():
        response, seen = await send(request, pieces=pieces)
        expected = b"" if name in UNFINISHED else b"HTTP/1.1 2" if name in ACCEPTED else b"HTTP/1.1 [45]"
        if name in UNDERWAY:
            expected = b"HTTP/1.1 (2|4)"
        # A refused request does not reach the upstream, and no other one becomes two.
        if seen > (name in ACCEPTED or name in UNDERWAY) or not re.match(expected, response):
            wrong[name] = (request[:80], response[:80], seen)
    assert wrong == {}


async def test_requests_that_gunicorn_calls_valid_are_served(source: Path) -> None:
    wrong = {}
    for name, request in requests_in(source / "valid").items():
        response, _ = await send(with_host(request), pieces=1)
        # Some targets have no route, or methods that a gateway does not support.
        served = response.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 404 ")) or name.startswith("rfc9112_target_")
        if name in SHORT and response == b"":
            continue
        if served == (name in REFUSED):
            wrong[name] = (request[:80], response[:80])
    assert wrong == {}
