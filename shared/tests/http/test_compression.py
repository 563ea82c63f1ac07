"""Which coding an answer gets, and that what arrives is what was sent."""

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


async def answer_of(
    *pieces: bytes, given: dict[str, str] | None = None, status: int = 200, remembered: int = 0, **asked: str
) -> tuple[int, dict[str, str], list[bytes], dict[str, str]]:
    """What a client gets of an application's answer in these pieces, and the headers that the application saw."""
    seen: dict[str, str] = {}
    given = {"content-type": "application/json", "cache-control": "no-cache", "etag": '"v1"', **(given or {})}
    if len(pieces) == 1:
        given.setdefault("content-length", str(len(pieces[0])))

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        seen.update(texts(scope["headers"]))
        headers = [(name.encode(), value.encode()) for name, value in given.items() if value]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for at, piece in enumerate(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": at + 1 < len(pieces)})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in asked.items()]
    scope = {"type": "http", "method": "GET", "headers": headers}
    await Compression(app, remembered=remembered)(scope, None, send)  # type: ignore[arg-type]
    return sent[0]["status"], texts(sent[0]["headers"]), [message["body"] for message in sent[1:]], seen


def texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
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
def test_the_coding_that_is_asked_for(header: str, coding: str | None) -> None:
    chosen = parse_accept_encoding(header.encode()).coding
    assert (chosen and chosen.name.decode()) == coding


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_whole_answer(coding: str) -> None:
    status, headers, [body], _ = await answer_of(LONG, accept_encoding=coding)
    assert status == 200
    assert headers["content-encoding"] == coding
    assert headers["content-length"] == str(len(body))
    assert len(body) < len(LONG) / 4
    assert headers["etag"] == f'"v1-{coding}"'
    assert headers["vary"] == "Accept-Encoding"
    assert DECODE[coding](body) == LONG


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_each_piece_of_a_streamed_answer_can_be_read_as_it_comes(coding: str) -> None:
    given = {"content-length": str(2 * len(LONG)), "accept-ranges": "bytes"}
    _, headers, pieces, _ = await answer_of(LONG, b"", LONG, given=given, accept_encoding=coding)
    assert "content-length" not in headers
    assert "accept-ranges" not in headers
    reader = zlib.decompressobj(31) if coding == "gzip" else zstd.ZstdDecompressor()
    read = [reader.decompress(piece) for piece in pieces]
    assert read == [LONG, b"", LONG]
    assert reader.eof


async def test_a_short_stream_that_says_its_length_goes_as_it_is() -> None:
    _, headers, pieces, _ = await answer_of(b"a", b"b", given={"content-length": "2"}, accept_encoding="gzip")
    assert "content-encoding" not in headers
    assert pieces == [b"a", b"b"]


async def test_what_is_short_goes_as_it_is_unless_that_is_refused() -> None:
    short = LONG[: MIN_BYTES - 1]
    _, headers, [body], _ = await answer_of(short, accept_encoding="gzip")
    assert (body, headers.get("content-encoding"), headers["etag"]) == (short, None, '"v1"')
    assert headers["vary"] == "Accept-Encoding"
    _, headers, [body], _ = await answer_of(short, accept_encoding="gzip, identity;q=0")
    assert gzip.decompress(body) == short
    _, headers, _, _ = await answer_of(LONG[:MIN_BYTES], accept_encoding="gzip")
    assert headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        # What a token's length tells of its text, an attacker could ask for (BREACH).
        ({"cache-control": "no-store"}, 200),
        ({"cache-control": "private, No-Transform"}, 200),
        ({"content-encoding": "br"}, 200),
        ({"content-type": "image/png"}, 200),
        ({"content-type": "text/event-stream"}, 200),
        ({"content-type": ""}, 200),
        ({"content-range": "bytes 0-9/20"}, 206),
    ],
)
async def test_what_is_never_compressed(given: dict[str, str], status: int) -> None:
    answered, headers, [body], _ = await answer_of(LONG, given=given, status=status, accept_encoding="gzip, zstd")
    assert (answered, body) == (status, LONG)
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
async def test_what_is_worth_it(kind: str) -> None:
    _, headers, _, _ = await answer_of(LONG, given={"content-type": kind}, accept_encoding="gzip")
    assert headers["content-encoding"] == "gzip"


async def test_an_answer_to_who_does_not_ask_still_says_what_it_depends_on() -> None:
    _, headers, [body], _ = await answer_of(LONG, given={"vary": "Authorization"})
    assert (body, headers["vary"]) == (LONG, "Authorization, Accept-Encoding")
    for already in ("Accept-Encoding", "origin, accept-encoding", "*"):
        _, headers, _, _ = await answer_of(LONG, given={"vary": already}, accept_encoding="gzip")
        assert headers["vary"] == already


async def test_a_weak_tag_names_every_coding() -> None:
    _, headers, _, _ = await answer_of(LONG, given={"etag": 'W/"v1"'}, accept_encoding="gzip")
    assert headers["etag"] == 'W/"v1"'


async def test_the_application_sees_its_own_tags_again_and_304_the_clients() -> None:
    asked = '"old-zstd", W/"v1-zstd", "v2-gzip", "v3"'
    status, headers, _, seen = await answer_of(
        b"", status=304, given={"content-type": ""}, accept_encoding="zstd", if_none_match=asked
    )
    assert seen["if-none-match"] == '"old", W/"v1", "v2-gzip", "v3"'
    assert (status, headers["etag"], headers["vary"]) == (304, '"v1-zstd"', "Accept-Encoding")
    assert "content-encoding" not in headers


async def test_a_tag_of_a_coding_that_this_answer_would_not_have_names_another_representation() -> None:
    _, _, _, seen = await answer_of(LONG, if_none_match='"v1-zstd"')
    assert seen["if-none-match"] == '"v1-zstd"'
    _, _, _, seen = await answer_of(LONG, if_none_match='"v1-zstd"', accept_encoding="gzip")
    assert seen["if-none-match"] == '"v1-zstd"'


async def test_a_write_may_name_the_version_by_any_of_its_tags() -> None:
    for tag in ('"v1"', '"v1-gzip"', '"v1-zstd"'):
        _, _, _, seen = await answer_of(b"", if_match=tag)
        assert seen["if-match"] == '"v1"'


async def test_a_large_answer_is_compressed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []
    original = asyncio.to_thread

    async def to_thread(work: Any) -> Any:
        threads.append(work)
        return await original(work)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    _, _, [body], _ = await answer_of(LONG * 200, accept_encoding="zstd")
    assert zstd.decompress(body) == LONG * 200
    assert len(threads) == 1


async def test_pages_that_are_the_same_for_everyone_are_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    original = compression.compress

    def counted(body: bytes, coding: compression.Coding) -> bytes:
        nonlocal count
        count += 1
        return original(body, coding)

    monkeypatch.setattr(compression, "compress", counted)
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
