"""Pure ASGI middleware that compresses responses where the client accepts it and it pays.

Looked at on 2026-11-27: Starlette 1.10's GZipMiddleware. It excludes media types, compresses large bodies in a thread
and flushes each part of a stream. It has no zstd, ignores q-values (`gzip;q=0` gets gzip), keeps one entity tag for
both representations, compresses responses with `no-store` and `no-transform`, and keeps no compressed pages. See
docs/adr/0019.
"""

import asyncio
import re
import sys
import zlib
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from typing import NamedTuple, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if sys.version_info >= (3, 14):  # pragma: no cover
    from compression import zstd
else:
    from backports import zstd

Headers = list[tuple[bytes, bytes]]

# A smaller response fits into one packet with its headers, compressed or not.
MIN_BYTES = 1024
# Larger bodies are compressed in a thread, so that other requests do not wait (1 ms for zstd, 5 for gzip).
_THREAD_BYTES = 256 * 1024
# Measured on lists of posts: at higher levels processor time grows faster than the response shrinks.
_GZIP_LEVEL = 4
_ZSTD_LEVEL = 1
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
# A response with one of these has no content, or a range of the uncompressed content (RFC 9110, 15.3.7).
_NEVER = frozenset({204, 206, 304})
_COMPRESSIBLE = re.compile(rb"(?:text/(?!event-stream)|application/(?:\S+\+)?(?:json|xml|javascript)|image/svg\+xml)")
_UNTOUCHABLE = re.compile(rb"\bno-(?:store|transform)\b", re.IGNORECASE)
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_SUFFIX = re.compile(rb'-(?:gzip|zstd)"')
_TAG = re.compile(rb'"[^"]*"')
_NO_TAGS: Mapping[bytes, bytes] = {}


class _Compressor(Protocol):
    def __call__(self, data: bytes, *, last: bool) -> bytes: ...


class Coding(NamedTuple):
    """A content coding: its name, which is also the suffix of its entity tags, and the factory of its streams."""

    name: bytes
    compressor: Callable[[], _Compressor]

    def tag(self, etag: bytes) -> bytes:
        """The tag of a version in this coding (RFC 9110, 8.8.3.3); a weak one is the same for all codings."""
        return etag if etag.startswith(b"W/") else etag[:-1] + b"-" + self.name + b'"'


class Preference(NamedTuple):
    """The result of Accept-Encoding: the coding to use, and whether an uncompressed response is acceptable."""

    coding: Coding | None
    identity: bool


def _create_gzip() -> _Compressor:
    stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)

    def compress(data: bytes, *, last: bool) -> bytes:
        return stream.compress(data) + stream.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)

    return compress


def _create_zstd() -> _Compressor:
    stream = zstd.ZstdCompressor(level=_ZSTD_LEVEL)

    def compress(data: bytes, *, last: bool) -> bytes:
        return stream.compress(data, mode=stream.FLUSH_FRAME if last else stream.FLUSH_BLOCK)

    return compress


# In order of preference for equal weights.
_CODINGS = (Coding(b"zstd", _create_zstd), Coding(b"gzip", _create_gzip))
_NO_CODING = Preference(None, identity=True)


@lru_cache(maxsize=256)
def parse_accept_encoding(value: bytes) -> Preference:
    """RFC 9110, 12.5.3. Invalid members are ignored: an uncompressed response is correct, too."""
    weights = dict(filter(None, map(_parse_member, value.decode("latin-1").lower().split(","))))
    weights.setdefault("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    weights.setdefault("zstd", weights.get("*", 0.0))
    best = max(_CODINGS, key=lambda coding: weights[coding.name.decode()])
    weight = weights[best.name.decode()]
    identity = weights.get("identity", weights.get("*", 1.0)) > 0
    wanted = weight > 0 and weight >= weights.get("identity", 0.0)
    return Preference(best if wanted else None, identity)


def _parse_member(member: str) -> tuple[str, float] | None:
    name, semicolon, parameter = (part.strip(" \t") for part in member.partition(";"))
    if not semicolon:
        return name, 1.0
    key, _, weight = (part.strip(" \t") for part in parameter.partition("="))
    return (name, float(weight)) if key == "q" and _QUALITY.fullmatch(weight) else None


@lru_cache(maxsize=256)
def _is_compressible(content_type: bytes) -> bool:
    return _COMPRESSIBLE.match(content_type.lower()) is not None


@lru_cache(maxsize=64)
def _is_untouchable(cache_control: bytes) -> bool:
    return _UNTOUCHABLE.search(cache_control) is not None


@lru_cache(maxsize=64)
def _extend_vary(vary: bytes) -> bytes:
    members = {member.strip().lower() for member in vary.split(b",")}
    return vary if members & {b"*", b"accept-encoding"} else vary + b", Accept-Encoding"


def compress(body: bytes, coding: Coding) -> bytes:
    return coding.compressor()(body, last=True)


class Compression:
    """Compresses complete responses at once and streamed ones part by part.

    ``remembered`` is the number of compressed bodies to keep, for pages that are the same for all clients.
    """

    def __init__(self, app: ASGIApp, *, remembered: int = 0) -> None:
        self.app = app
        # The body is the key of the cache; Python computes the hash of a bytes object only once.
        self._compress = lru_cache(remembered)(compress) if remembered else compress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A response to HEAD has no body.
        if scope["type"] != "http" or scope["method"] == "HEAD":
            await self.app(scope, receive, send)
            return
        if _RELEVANT.isdisjoint([name for name, _ in scope["headers"]]):
            await self.app(scope, receive, _send_with_vary(send))
            return
        preference, tags = _read_request(scope)
        await self.app(scope, receive, _Response(send, preference, tags, self._compress).send)


def _send_with_vary(send: Send) -> Send:
    """For most requests: only set Vary. Not async, since each coroutine has a cost."""

    def send_with_vary(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            _may_compress(message)
        return send(message)

    return send_with_vary


def _may_compress(head: Message) -> bool:
    """Set Vary, in place, if the response depends on Accept-Encoding; True if it may be compressed."""
    headers: Headers = head["headers"]
    named = dict(headers)
    if len(named) != len(headers):
        named = _join_fields(headers)
    if head["status"] in _NEVER:
        if head["status"] == HTTPStatus.NOT_MODIFIED:
            _set_vary(headers, named)
        return False
    if b"content-encoding" in named or not _is_compressible(named.get(b"content-type", b"")):
        return False
    if _is_untouchable(named.get(b"cache-control", b"")):
        return False
    _set_vary(headers, named)
    return True


def _join_fields(headers: Headers) -> dict[bytes, bytes]:
    named: dict[bytes, bytes] = {}
    for name, value in headers:
        named[name] = named[name] + b", " + value if name in named else value
    return named


def _set_vary(headers: Headers, named: dict[bytes, bytes]) -> None:
    """Add Accept-Encoding to Vary, in place."""
    given = named.get(b"vary")
    if given is None:
        headers.append((b"vary", b"Accept-Encoding"))
    elif (wanted := _extend_vary(given)) != given:
        if (b"vary", given) in headers:
            headers[headers.index((b"vary", given))] = (b"vary", wanted)
        else:
            # Vary has several lines, which are read as one list.
            headers.append((b"vary", b"Accept-Encoding"))


_RELEVANT = frozenset({b"accept-encoding", b"if-match", b"if-none-match"})


def _read_request(scope: Scope) -> tuple[Preference, dict[bytes, bytes]]:
    """The preference, and the tags of If-None-Match by their form without the suffix of the coding.

    In the scope the conditions get the application's own tags. If-None-Match asks about the response that would be
    sent, so only tags of its coding match.
    """
    headers: Headers = scope["headers"]
    accepted = [value for name, value in headers if name == b"accept-encoding"]
    preference = parse_accept_encoding(b",".join(accepted)) if accepted else _NO_CODING
    tags: dict[bytes, bytes] = {}
    if any(name != b"accept-encoding" and name in _RELEVANT for name, _ in headers):
        # In the same scope, so that outer layers see what the application adds to it.
        scope["headers"] = [(name, _strip_suffix(name, value, preference, tags)) for name, value in headers]
    return preference, tags


def _strip_suffix(name: bytes, value: bytes, preference: Preference, tags: dict[bytes, bytes]) -> bytes:
    """A condition without the suffixes of codings. If-Match asks for the version, in any coding."""
    if name == b"if-match":
        return _SUFFIX.sub(b'"', value)
    if name != b"if-none-match" or preference.coding is None:
        return value
    suffix = b"-" + preference.coding.name + b'"'
    for tag in _TAG.findall(value):
        if tag.endswith(suffix):
            tags[tag.removesuffix(suffix) + b'"'] = tag
    return value.replace(suffix, b'"')


class _Response:
    """One response. Its head waits for the first part of the body, whose length decides on compression."""

    __slots__ = ("_compress_body", "_compress_part", "_head", "_preference", "_send", "_tags")

    def __init__(
        self,
        send: Send,
        preference: Preference,
        tags: Mapping[bytes, bytes],
        compress_body: Callable[[bytes, Coding], bytes],
    ) -> None:
        self._send = send
        self._preference = preference
        self._tags = tags
        self._compress_body = compress_body
        self._head: Message | None = None
        self._compress_part: _Compressor | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] == HTTPStatus.NOT_MODIFIED:
                self._restore_tag(message["headers"])
            if _may_compress(message) and self._preference.coding is not None:
                self._head = message
            else:
                await self._send(message)
        elif self._head is not None:
            head, self._head = self._head, None
            await self._send_first(head, message)
        elif self._compress_part is not None:
            await self._send_part(message)
        else:
            await self._send(message)

    def _restore_tag(self, headers: Headers) -> None:
        """RFC 9110, 15.4.5: a 304 has the tag of a 200, that of the representation that the client has."""
        for at, (name, value) in enumerate(headers):
            if name == b"etag":
                headers[at] = (name, self._tags.get(value, value))

    async def _send_first(self, head: Message, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        coding = self._preference.coding
        length = _content_length(head["headers"]) if more else len(body)
        if coding is None or (self._preference.identity and length is not None and length < MIN_BYTES) or length == 0:
            await self._send(head)
            await self._send(message)
        elif more:
            self._compress_part = coding.compressor()
            await self._send({**head, "headers": _coded_headers(head["headers"], coding, None)})
            await self._send_part(message)
        else:
            work = partial(self._compress_body, bytes(body), coding)
            body = await asyncio.to_thread(work) if length and length > _THREAD_BYTES else work()
            await self._send({**head, "headers": _coded_headers(head["headers"], coding, len(body))})
            await self._send({**message, "body": body})

    async def _send_part(self, message: Message) -> None:
        assert self._compress_part is not None  # noqa: S101 the caller has checked it
        more = message.get("more_body", False)
        body = self._compress_part(message.get("body", b""), last=not more)
        await self._send({**message, "body": body})


def _coded_headers(headers: Headers, coding: Coding, length: int | None) -> Headers:
    """The headers of a compressed response: a streamed one has no length, and ranges would be of the original."""
    kept = [
        (name, coding.tag(value) if name == b"etag" else value)
        for name, value in headers
        if name not in (b"content-length", b"accept-ranges")
    ]
    kept.append((b"content-encoding", coding.name))
    if length is not None:
        kept.append((b"content-length", b"%d" % length))
    return kept


def _content_length(headers: Headers) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None
