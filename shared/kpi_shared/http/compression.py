"""A pure ASGI layer that compresses answers, for who asks for it and where it is worth it. See docs/adr/0019."""

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

# Below this the answer fits in one packet with its headers, compressed or not.
MIN_BYTES = 1024
# From here on a thread compresses, so that nobody else's request waits for it (1 ms of zstd, 5 of gzip).
_THREAD_BYTES = 256 * 1024
# Measured on lists of posts: beyond these the processor's time grows faster than the answer shrinks.
_GZIP_LEVEL = 4
_ZSTD_LEVEL = 1
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
# An answer with one of these has no content, or a part of one (RFC 9110, 15.3.7), whose ranges are the whole's.
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
    """A content coding: its name, which is also what its entity tags end in, and what makes its streams."""

    name: bytes
    compressor: Callable[[], _Compressor]

    def tagged(self, etag: bytes) -> bytes:
        """The tag of this coding of a version (RFC 9110, 8.8.3.3); a weak one names all of them."""
        return etag if etag.startswith(b"W/") else etag[:-1] + b"-" + self.name + b'"'


class Wish(NamedTuple):
    """What Accept-Encoding comes down to: the coding to use, and whether the answer may also go as it is."""

    coding: Coding | None
    identity: bool


def _gzip() -> _Compressor:
    stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)

    def compress(data: bytes, *, last: bool) -> bytes:
        return stream.compress(data) + stream.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)

    return compress


def _zstd() -> _Compressor:
    stream = zstd.ZstdCompressor(level=_ZSTD_LEVEL)

    def compress(data: bytes, *, last: bool) -> bytes:
        return stream.compress(data, mode=stream.FLUSH_FRAME if last else stream.FLUSH_BLOCK)

    return compress


# The better one first: of two that are wanted alike it is taken.
_CODINGS = (Coding(b"zstd", _zstd), Coding(b"gzip", _gzip))
_NOTHING = Wish(None, identity=True)


@lru_cache(maxsize=256)
def parse_accept_encoding(value: bytes) -> Wish:
    """RFC 9110, 12.5.3. What does not parse is passed over: an answer that is not compressed is right as well."""
    weights = dict(filter(None, map(_weighted, value.decode("latin-1").lower().split(","))))
    weights.setdefault("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    weights.setdefault("zstd", weights.get("*", 0.0))
    best = max(_CODINGS, key=lambda coding: weights[coding.name.decode()])
    weight = weights[best.name.decode()]
    identity = weights.get("identity", weights.get("*", 1.0)) > 0
    wanted = weight > 0 and weight >= weights.get("identity", 0.0)
    return Wish(best if wanted else None, identity)


def _weighted(member: str) -> tuple[str, float] | None:
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
def _with_encoding(vary: bytes) -> bytes:
    members = {member.strip().lower() for member in vary.split(b",")}
    return vary if members & {b"*", b"accept-encoding"} else vary + b", Accept-Encoding"


def compressed(body: bytes, coding: Coding) -> bytes:
    return coding.compressor()(body, last=True)


class Compression:
    """Compresses whole answers at once and streamed ones piece by piece.

    With ``remembered`` it keeps that many compressed bodies: for pages that are the same for everyone.
    """

    def __init__(self, app: ASGIApp, *, remembered: int = 0) -> None:
        self.app = app
        # The dictionary's key is the body, but Python computes the hash of the same object once.
        self._compressed = lru_cache(remembered)(compressed) if remembered else compressed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # An answer to HEAD has no body to look at.
        if scope["type"] != "http" or scope["method"] == "HEAD":
            await self.app(scope, receive, send)
            return
        if _ASKING.isdisjoint([name for name, _ in scope["headers"]]):
            await self.app(scope, receive, _unasked(send))
            return
        wish, tags = _asked(scope)
        await self.app(scope, receive, _Answer(send, wish, tags, self._compressed).send)


def _unasked(send: Send) -> Send:
    """What most requests get: one look at the head. Not async, since each further coroutine costs."""

    def looking(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            _may_compress(message)
        return send(message)

    return looking


def _may_compress(head: Message) -> bool:
    """Say what the answer depends on (Vary, in place); True if it may be compressed."""
    headers: Headers = head["headers"]
    named = dict(headers)
    if len(named) != len(headers):
        named = _joined(headers)
    if head["status"] in _NEVER:
        if head["status"] == HTTPStatus.NOT_MODIFIED:
            _vary(headers, named)
        return False
    if b"content-encoding" in named or not _is_compressible(named.get(b"content-type", b"")):
        return False
    if _is_untouchable(named.get(b"cache-control", b"")):
        return False
    _vary(headers, named)
    return True


def _joined(headers: Headers) -> dict[bytes, bytes]:
    named: dict[bytes, bytes] = {}
    for name, value in headers:
        named[name] = named[name] + b", " + value if name in named else value
    return named


def _vary(headers: Headers, named: dict[bytes, bytes]) -> None:
    """Add Accept-Encoding to Vary, in place."""
    given = named.get(b"vary")
    if given is None:
        headers.append((b"vary", b"Accept-Encoding"))
    elif (wanted := _with_encoding(given)) != given:
        if (b"vary", given) in headers:
            headers[headers.index((b"vary", given))] = (b"vary", wanted)
        else:
            # It has several lines, and each of them counts.
            headers.append((b"vary", b"Accept-Encoding"))


_ASKING = frozenset({b"accept-encoding", b"if-match", b"if-none-match"})


def _asked(scope: Scope) -> tuple[Wish, dict[bytes, bytes]]:
    """The wish; and the conditions' tags are made what the application calls them: the dictionary has what they were.

    If-None-Match is about what this answer would be, so that only tags of its coding are known again.
    """
    headers: Headers = scope["headers"]
    accepted = [value for name, value in headers if name == b"accept-encoding"]
    wish = parse_accept_encoding(b",".join(accepted)) if accepted else _NOTHING
    tags: dict[bytes, bytes] = {}
    if any(name != b"accept-encoding" and name in _ASKING for name, _ in headers):
        # In the same scope: whoever looks at it afterwards finds what the application put there.
        scope["headers"] = [(name, _bare(name, value, wish, tags)) for name, value in headers]
    return wish, tags


def _bare(name: bytes, value: bytes, wish: Wish, tags: dict[bytes, bytes]) -> bytes:
    """A condition without the codings' suffixes. If-Match asks for the version, whatever its coding was."""
    if name == b"if-match":
        return _SUFFIX.sub(b'"', value)
    if name != b"if-none-match" or wish.coding is None:
        return value
    suffix = b"-" + wish.coding.name + b'"'
    for tag in _TAG.findall(value):
        if tag.endswith(suffix):
            tags[tag.removesuffix(suffix) + b'"'] = tag
    return value.replace(suffix, b'"')


class _Answer:
    """One answer on its way out. Its head waits for the first piece of the body, which says what is worth it."""

    __slots__ = ("_compress", "_compressed", "_head", "_send", "_tags", "_wish")

    def __init__(
        self,
        send: Send,
        wish: Wish,
        tags: Mapping[bytes, bytes],
        whole: Callable[[bytes, Coding], bytes],
    ) -> None:
        self._send = send
        self._wish = wish
        self._tags = tags
        self._compressed = whole
        self._head: Message | None = None
        self._compress: _Compressor | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] == HTTPStatus.NOT_MODIFIED:
                self._restore_tag(message["headers"])
            if _may_compress(message) and self._wish.coding is not None:
                self._head = message
            else:
                await self._send(message)
        elif self._head is not None:
            head, self._head = self._head, None
            await self._first(head, message)
        elif self._compress is not None:
            await self._piece(message)
        else:
            await self._send(message)

    def _restore_tag(self, headers: Headers) -> None:
        """RFC 9110, 15.4.5: 304 names the representation that a 200 would have had, and that the client has."""
        for at, (name, value) in enumerate(headers):
            if name == b"etag":
                headers[at] = (name, self._tags.get(value, value))

    async def _first(self, head: Message, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        coding = self._wish.coding
        length = _length(head["headers"]) if more else len(body)
        if coding is None or (self._wish.identity and length is not None and length < MIN_BYTES) or length == 0:
            await self._send(head)
            await self._send(message)
        elif more:
            self._compress = coding.compressor()
            await self._send({**head, "headers": _coded(head["headers"], coding, None)})
            await self._piece(message)
        else:
            work = partial(self._compressed, bytes(body), coding)
            body = await asyncio.to_thread(work) if length and length > _THREAD_BYTES else work()
            await self._send({**head, "headers": _coded(head["headers"], coding, len(body))})
            await self._send({**message, "body": body})

    async def _piece(self, message: Message) -> None:
        assert self._compress is not None  # noqa: S101 whoever calls this has it
        more = message.get("more_body", False)
        body = self._compress(message.get("body", b""), last=not more)
        await self._send({**message, "body": body})


def _coded(headers: Headers, coding: Coding, length: int | None) -> Headers:
    """The head of a compressed answer; a streamed one has no length, and a range of it would be another's."""
    kept = [
        (name, coding.tagged(value) if name == b"etag" else value)
        for name, value in headers
        if name not in (b"content-length", b"accept-ranges")
    ]
    kept.append((b"content-encoding", coding.name))
    if length is not None:
        kept.append((b"content-length", b"%d" % length))
    return kept


def _length(headers: Headers) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None
