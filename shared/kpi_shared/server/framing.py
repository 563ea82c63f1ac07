"""Where a request starts and ends, parsed so strictly that no program behind can find another end (request smuggling).

Looked at on 2026-11-27: httptools 0.9, that is llhttp (it accepts bare line feeds, folded lines and chunk extensions of
any form, and does not say at which byte a request ended) and h11 0.16 (strict, at a fifth of the speed under uvicorn).
So the bytes are measured here (RFC 9112) before the parser gets them, and a request that the two read differently is
refused. See docs/adr/0018.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import httptools

# The request line and all headers together. nginx accepts 32 KiB by default, browsers send less than 10.
MAX_HEAD_BYTES = 64 * 1024
# RFC 9112 section 3 recommends at least 8,000 bytes.
MAX_REQUEST_LINE_BYTES = 8 * 1024
MAX_HEADERS = 100
MAX_CHUNK_LINE_BYTES = 4 * 1024
# The longest deadline that an X-Request-Timeout may set.
MAX_TIMEOUT_SECONDS = 30.0

# The bytes of a line (RFC 9110, 5.5): no control character except the tab.
_PLAIN = bytes(sorted({0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}))
# What is left of a head without those bytes, mapped to its number of lines: request line, headers, empty line.
_LINES = {b"\r\n" * lines: lines for lines in range(2, MAX_HEADERS + 3)}
_MAX_LINE_ENDS = max(len(ends) for ends in _LINES)
_PLAIN_OR_LINE_END = _PLAIN + b"\r\n"

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_OTHER_VERSION = re.compile(rb"[A-Z-]+ [!-~]+(?: HTTP/[02-9]\.[0-9])?\r\n")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_CODINGS = re.compile(_TOKEN + rb"(?:[ \t]*,[ \t]*" + _TOKEN + rb")*[ \t]*,[ \t]*chunked", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb'|"(?:[^"\\]|\\.)*"))?)*\r\n', re.DOTALL
)
_TRAILER = re.compile(rb"(?!(?:content-length|transfer-encoding|host):)" + _TOKEN + rb":[^\r\n]*\r\n", re.IGNORECASE)


class BadFramingError(Exception):
    """The bytes are not a request that is served; ``status`` and ``slug`` are those of the problem document."""

    def __init__(self, detail: str, *, status: int = 400, slug: str = "bad-request") -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.slug = slug


def head_too_large() -> BadFramingError:
    detail = f"The request line and headers have over {MAX_HEAD_BYTES} bytes"
    return BadFramingError(detail, status=431, slug="head-too-large")


def _target_too_long() -> BadFramingError:
    detail = f"The request line has over {MAX_REQUEST_LINE_BYTES} bytes"
    return BadFramingError(detail, status=414, slug="target-too-long")


def is_plain(head: bytes, lines: int) -> bool:
    """Whether the head of a response has this many lines, and no control character except in the line ends."""
    return len(head.translate(None, _PLAIN)) == 2 * lines


def count_lines(head: bytes) -> int:
    """The number of lines of a complete head, including the empty one; BadFramingError if it is not valid."""
    check_partial(head)
    lines = _LINES.get(head.translate(None, _PLAIN))
    if lines is None:
        raise diagnose(head)
    return lines


def diagnose(head: bytes) -> BadFramingError:
    """The reason why a head is refused."""
    line = head[: head.find(b"\r\n") + 2]
    if len(line) > MAX_REQUEST_LINE_BYTES:
        return _target_too_long()
    if _OTHER_VERSION.fullmatch(line):
        return BadFramingError("Only HTTP/1.1 and HTTP/1.0 are supported", status=505, slug="unsupported-version")
    left = head.translate(None, _PLAIN)
    if left.replace(b"\r\n", b"") or len(left) != 2 * head.count(b"\r\n"):
        return BadFramingError("A line does not end in CR LF or contains a control character")
    if len(left) > _MAX_LINE_ENDS:
        detail = f"There are more than {MAX_HEADERS} headers"
        return BadFramingError(detail, status=431, slug="too-many-headers")
    return BadFramingError(_describe_syntax(head, line))


def _describe_syntax(head: bytes, line: bytes) -> str:
    if b"\r\n " in head or b"\r\n\t" in head:
        return "A header is folded over several lines"
    if not line.isascii():
        return "The request target contains a character that must be percent-encoded (RFC 3986, 2.1)"
    return "Invalid HTTP request received."


class Framing(NamedTuple):
    """The length of the body, or -1 if it is chunked; and whether the client waits for a 100 (RFC 9110, 10.1.1).

    ``timeout`` is the number of seconds that the client gives the response to start, or None.
    """

    length: int
    expects_continue: bool
    timeout: float | None = None


def framing_of(headers: list[tuple[bytes, bytes]], *, http_10: bool) -> Framing:
    """Check the headers that say for which host a request is, and where and when it ends; raises BadFramingError."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _DECISIVE:
            if name in found and name not in _REPEATABLE:
                raise BadFramingError(f"There are two {name.decode('ascii')} headers")
            found[name] = value
    if b"host" not in found:
        if not http_10:
            # RFC 9112 section 3.2.
            raise BadFramingError("HTTP/1.1 requires a Host header")
    elif not _is_host(found[b"host"]):
        raise BadFramingError("The Host header is not valid")
    more = len(found) - (b"host" in found)
    if not more:
        return _WITHOUT_BODY
    if more == 1 and _TIMEOUT in found:
        return _without_body(found[_TIMEOUT])
    return _parse_body_framing(found, http_10=http_10)


def _parse_body_framing(found: dict[bytes, bytes], *, http_10: bool) -> Framing:
    # RFC 9110 section 10.1.1: an expectation of HTTP/1.0 is ignored.
    expects = not http_10 and found.get(b"expect", b"").lower() == b"100-continue"
    timeout = _parse_timeout(found[_TIMEOUT]) if _TIMEOUT in found else None
    if b"transfer-encoding" in found:
        if b"content-length" in found or http_10:
            raise BadFramingError("Transfer-Encoding is not allowed together with Content-Length, nor in HTTP/1.0")
        _check_coding(found[b"transfer-encoding"])
        return Framing(-1, expects, timeout)
    length = found.get(b"content-length", b"0")
    if not _LENGTH.fullmatch(length):
        raise BadFramingError("The Content-Length is not valid")
    return Framing(int(length), expects, timeout)


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


@lru_cache(maxsize=4096)
def _without_body(timeout: bytes) -> Framing:
    return Framing(0, expects_continue=False, timeout=_parse_timeout(timeout))


def _parse_timeout(value: bytes) -> float | None:
    """The header of the gateway, in milliseconds; None if it is not valid."""
    if not _LENGTH.fullmatch(value):
        return None
    return min(int(value) / 1000, MAX_TIMEOUT_SECONDS)


def _check_coding(value: bytes) -> None:
    """RFC 9112 section 6.1: 501 for transfer codings other than chunked, which are not implemented."""
    if value.lower() == b"chunked":
        return
    if _CODINGS.fullmatch(value):
        raise BadFramingError("Only the chunked transfer coding is supported", status=501, slug="coding-not-supported")
    raise BadFramingError("The Transfer-Encoding is not valid")


_TIMEOUT = b"x-request-timeout"
_DECISIVE = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", _TIMEOUT})
_REPEATABLE = frozenset({b"expect", _TIMEOUT})
_WITHOUT_BODY = Framing(0, expects_continue=False)


def check_piece(data: bytes, before: int) -> None:
    """Refuse bytes that no head may contain before the rest arrives; ``before`` is the byte before them."""
    if data.translate(None, _PLAIN_OR_LINE_END):
        raise BadFramingError("The head contains a control character")
    ends = data.count(b"\r\n") + (before == ord("\r") and data.startswith(b"\n"))
    if data.count(b"\n") != ends:
        raise BadFramingError("A line does not end in CR LF")


def check_partial(head: bytes | bytearray) -> None:
    """Refuse a head that is too large, even if it is incomplete."""
    if len(head) > MAX_HEAD_BYTES:
        raise head_too_large()
    if len(head) > MAX_REQUEST_LINE_BYTES and head.find(b"\r\n", 0, MAX_REQUEST_LINE_BYTES) < 0:
        raise _target_too_long()


class PartialHead(bytearray):
    """The start of a head that has not arrived completely."""

    def keep(self, data: bytes) -> None:
        """Add the data, or refuse it as soon as no head can begin with it."""
        check_piece(data, self[-1] if self else 0)
        self += data
        check_partial(self)

    def complete(self, data: bytes) -> tuple[bytes, bytes]:
        """The head that the data completes, or b"" while it is incomplete, and the data after it."""
        before = len(self)
        if self == b"\r":
            # An empty line before the request, in two parts.
            self.clear()
            return b"", b"\r" + data
        # The four bytes that end the head may have arrived in two parts.
        around = bytes(self[-3:]) + data
        end = around.find(b"\r\n\r\n")
        if end < 0:
            self.keep(data)
            return b"", b""
        cut = end + 4 - min(3, before)
        self.keep(data[:cut])
        return bytes(self), data[cut:]


def path_and_query(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target in any form (RFC 9112, 3.2); an absolute one without a path means the root."""
    if target.startswith(b"/") and b"#" not in target:
        path, _, query = target.partition(b"?")
        return path, query
    parsed = httptools.parse_url(target)
    return parsed.path or b"/", parsed.query or b""


# Each chunk costs work, even if it is tiny: beyond the free ones, chunks must have this many bytes on average.
_FREE_CHUNKS = 32_768
_LEAST_CHUNK_BYTES = 16


class ChunkedBody:
    """Finds the end of a chunked body (RFC 9112, 7.1)."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        self._line = b""
        # The next line is the size of a chunk, the empty line after one, or a trailer.
        self._read_line = self._read_size
        self._trailers = 0
        self._chunks = 0
        self._bytes = 0

    def take(self, data: bytes) -> int:
        """How many of these bytes belong to the body; raises BadFramingError."""
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
            else:
                at = self._take_line(data, at)
        return at

    def _take_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at) + 1
        piece = data[at : end or len(data)]
        self._line += piece
        if len(self._line) > MAX_CHUNK_LINE_BYTES:
            raise BadFramingError("A line of the chunked body is too long")
        if not end:
            return len(data)
        line, self._line = self._line, b""
        if line.translate(None, _PLAIN) != b"\r\n" or not line.endswith(b"\r\n"):
            raise BadFramingError("A line of the chunked body does not end in CR LF or contains a control character")
        self._read_line(line)
        return end

    def _read_size(self, line: bytes) -> None:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise BadFramingError("The size of a chunk is not valid")
        self._left = int(match[1], 16)
        self._chunks += 1
        self._bytes += self._left
        if self._chunks > _FREE_CHUNKS and self._bytes < self._chunks * _LEAST_CHUNK_BYTES:
            raise BadFramingError("The body has too many chunks that are too small")
        self._read_line = self._read_chunk_end if self._left else self._read_trailer

    def _read_chunk_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise BadFramingError("A chunk is longer than its size")
        self._read_line = self._read_size

    def _read_trailer(self, line: bytes) -> None:
        self._trailers += 1
        self.done = line == b"\r\n"
        if self._trailers > MAX_HEADERS:
            raise BadFramingError(f"There are more than {MAX_HEADERS} trailers", status=431, slug="too-many-headers")
        if not self.done and not _TRAILER.fullmatch(line):
            raise BadFramingError("A trailer is not valid")
