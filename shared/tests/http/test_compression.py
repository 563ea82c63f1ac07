"""The choice of the coding, and that the content survives it."""

import asyncio
import gzip
import sys
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from kpi_shared.http import compression
from kpi_shared.http.compression import MIN_BYTES, Compression, parse_accept_encoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = b'{"title": "A title of a post", "votes": 7}' * 60
DECODE = {"gzip": gzip.decompress, "zstd": zstd.decompress}
Pairs = list[tuple[bytes, bytes]]


async def get_response(
    *parts: bytes, given: dict[str, str] | None = None, status: int = 200, remembered: int = 0, **sent_headers: str
) -> tuple[int, dict[str, str], list[bytes], dict[str, str]]:
    """The response of an application that sends these parts, and the headers that the application received."""
    seen: dict[str, str] = {}
    given = {"content-type": "application/json", "cache-control": "no-cache", "etag": '"v1"', **(given or {})}
    if len(parts) == 1:
        given.setdefault("content-length", str(len(parts[0])))

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        seen.update(decode(scope["headers"]))
        headers = [(name.encode(), value.encode()) for name, value in given.items() if value]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for at, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": at + 1 < len(parts)})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent_headers.items()]
    scope = {"type": "http", "method": "GET", "headers": headers}
    await Compression(app, remembered=remembered)(scope, None, send)  # type: ignore[arg-type]
    return sent[0]["status"], decode(sent[0]["headers"]), [message["body"] for message in sent[1:]], seen


def decode(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    named: dict[str, str] = {}
    for name, value in headers:
        assert name.decode() not in named, name
        named[name.decode()] = value.decode()
    return named


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.9", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("zstd;q=0, gzip;q=0.001", "gzip"),
        ("*", "zstd"),
        ("*, zstd;q=0", "gzip"),
        ("*;q=0", None),
        ("gzip;q=0, zstd;q=0", None),
        ("gzip ; q = 0.5", "gzip"),
        ("identity", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("deflate, br", None),
        ("", None),
        (",, ,", None),
        ("gzip;q=2", None),
        ("gzip;q=nan", None),
        ("gzip;q=1e0", None),
        ("gzip;level=9", None),
        ("notgzip, gzipped", None),
    ],
)
def test_the_preferred_coding(header: str, coding: str | None) -> None:
    chosen = parse_accept_encoding(header.encode()).coding
    assert (chosen and chosen.name.decode()) == coding


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_complete_response(coding: str) -> None:
    status, headers, [body], _ = await get_response(LONG, accept_encoding=coding)
    assert status == 200
    assert headers["content-encoding"] == coding
    assert headers["content-length"] == str(len(body))
    assert len(body) < len(LONG) / 4
    assert headers["etag"] == f'"v1-{coding}"'
    assert headers["vary"] == "Accept-Encoding"
    assert DECODE[coding](body) == LONG


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_each_part_of_a_streamed_response_can_be_decompressed_at_once(coding: str) -> None:
    given = {"content-length": str(2 * len(LONG)), "accept-ranges": "bytes"}
    _, headers, parts, _ = await get_response(LONG, b"", LONG, given=given, accept_encoding=coding)
    assert "content-length" not in headers
    assert "accept-ranges" not in headers
    reader = zlib.decompressobj(31) if coding == "gzip" else zstd.ZstdDecompressor()
    read = [reader.decompress(part) for part in parts]
    assert read == [LONG, b"", LONG]
    assert reader.eof


async def test_a_short_stream_with_a_length_is_not_compressed() -> None:
    _, headers, parts, _ = await get_response(b"a", b"b", given={"content-length": "2"}, accept_encoding="gzip")
    assert "content-encoding" not in headers
    assert parts == [b"a", b"b"]


async def test_a_short_response_is_compressed_only_if_identity_is_refused() -> None:
    short = LONG[: MIN_BYTES - 1]
    _, headers, [body], _ = await get_response(short, accept_encoding="gzip")
    assert (body, headers.get("content-encoding"), headers["etag"]) == (short, None, '"v1"')
    assert headers["vary"] == "Accept-Encoding"
    _, headers, [body], _ = await get_response(short, accept_encoding="gzip, identity;q=0")
    assert gzip.decompress(body) == short
    _, headers, _, _ = await get_response(LONG[:MIN_BYTES], accept_encoding="gzip")
    assert headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        # Attackers could guess a token from its compressed length (BREACH).
        ({"cache-control": "no-store"}, 200),
        ({"cache-control": "private, No-Transform"}, 200),
        ({"content-encoding": "br"}, 200),
        ({"content-type": "image/png"}, 200),
        ({"content-type": "text/event-stream"}, 200),
        ({"content-type": ""}, 200),
        ({"content-range": "bytes 0-9/20"}, 206),
    ],
)
async def test_responses_that_are_never_compressed(given: dict[str, str], status: int) -> None:
    actual, headers, [body], _ = await get_response(LONG, given=given, status=status, accept_encoding="gzip, zstd")
    assert (actual, body) == (status, LONG)
    assert headers.get("content-encoding") == given.get("content-encoding")
    assert headers["etag"] == '"v1"'
    assert headers["content-length"] == str(len(LONG))
    assert "vary" not in headers


@pytest.mark.parametrize(
    "kind",
    [
        *("application/json", "application/problem+json", "Application/JSON; charset=utf-8", "text/html"),
        *("text/css", "text/javascript; charset=utf-8", "image/svg+xml", "application/javascript"),
    ],
)
async def test_media_types_that_are_compressed(kind: str) -> None:
    _, headers, _, _ = await get_response(LONG, given={"content-type": kind}, accept_encoding="gzip")
    assert headers["content-encoding"] == "gzip"


async def test_vary_is_set_without_accept_encoding() -> None:
    _, headers, [body], _ = await get_response(LONG, given={"vary": "Authorization"})
    assert (body, headers["vary"]) == (LONG, "Authorization, Accept-Encoding")
    for already in ("Accept-Encoding", "origin, accept-encoding", "*"):
        _, headers, _, _ = await get_response(LONG, given={"vary": already}, accept_encoding="gzip")
        assert headers["vary"] == already


async def test_a_weak_tag_is_the_same_for_all_codings() -> None:
    _, headers, _, _ = await get_response(LONG, given={"etag": 'W/"v1"'}, accept_encoding="gzip")
    assert headers["etag"] == 'W/"v1"'


async def test_the_application_gets_its_own_tags_and_a_304_has_the_clients() -> None:
    tags = '"old-zstd", W/"v1-zstd", "v2-gzip", "v3"'
    status, headers, _, seen = await get_response(
        b"", status=304, given={"content-type": ""}, accept_encoding="zstd", if_none_match=tags
    )
    assert seen["if-none-match"] == '"old", W/"v1", "v2-gzip", "v3"'
    assert (status, headers["etag"], headers["vary"]) == (304, '"v1-zstd"', "Accept-Encoding")
    assert "content-encoding" not in headers


async def test_a_tag_of_another_coding_is_another_representation() -> None:
    _, _, _, seen = await get_response(LONG, if_none_match='"v1-zstd"')
    assert seen["if-none-match"] == '"v1-zstd"'
    _, _, _, seen = await get_response(LONG, if_none_match='"v1-zstd"', accept_encoding="gzip")
    assert seen["if-none-match"] == '"v1-zstd"'


async def test_if_match_accepts_the_tag_of_any_coding() -> None:
    for tag in ('"v1"', '"v1-gzip"', '"v1-zstd"'):
        _, _, _, seen = await get_response(b"", if_match=tag)
        assert seen["if-match"] == '"v1"'


async def test_a_large_response_is_compressed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []
    original = asyncio.to_thread

    async def to_thread(work: Any) -> Any:
        threads.append(work)
        return await original(work)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    _, _, [body], _ = await get_response(LONG * 200, accept_encoding="zstd")
    assert zstd.decompress(body) == LONG * 200
    assert len(threads) == 1


async def test_remembered_pages_are_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    original = compression.compress

    def count_and_compress(body: bytes, coding: compression.Coding) -> bytes:
        nonlocal count
        count += 1
        return original(body, coding)

    monkeypatch.setattr(compression, "compress", count_and_compress)
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/css")]})
        await send({"type": "http.response.body", "body": LONG})

    async def send(message: Any) -> None:
        sent.append(message)

    layer = Compression(app, remembered=2)
    for coding in (b"gzip", b"gzip", b"zstd"):
        await layer({"type": "http", "method": "GET", "headers": [(b"accept-encoding", coding)]}, None, send)  # type: ignore[arg-type]
    assert count == 2
    assert [gzip.decompress(sent[at]["body"]) for at in (1, 3)] == [LONG, LONG]
    assert zstd.decompress(sent[5]["body"]) == LONG
