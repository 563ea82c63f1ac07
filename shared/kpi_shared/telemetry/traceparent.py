"""W3C Trace Context (Recommendation of 23 November 2021): validation of ``traceparent`` and ``tracestate``."""

import re
from collections.abc import Iterable

Headers = Iterable[tuple[bytes, bytes]]

# Section 3.2.2: lower-case hexadecimal digits; only versions after 00 may have more fields after the flags.
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[!-~]*)?")
_LONGEST = 512
_NO_TRACE = b"0" * 32
_NO_PARENT = b"0" * 16
# Section 3.3.1.3: members are key=value, optionally surrounded by white space, and may be empty.
_KEY = rb"(?:[a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(rb"(" + _KEY + rb")=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_MOST_MEMBERS = 32


def trace_id_of(value: bytes) -> str | None:
    """The trace id of a ``traceparent``, or None if it is not valid."""
    found = _TRACEPARENT.fullmatch(value) if len(value) <= _LONGEST else None
    if found is None:
        return None
    version, trace_id, parent, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or trace_id == _NO_TRACE or parent == _NO_PARENT:
        return None
    return trace_id.decode("ascii")


def is_tracestate(value: bytes) -> bool:
    """Whether it is a list of at most 32 members with distinct keys."""
    members = [member for member in (part.strip(b" \t") for part in value.split(b",")) if member]
    found = [_MEMBER.fullmatch(member) for member in members[: _MOST_MEMBERS + 1]]
    keys = {match.group(1) for match in found if match is not None}
    return len(keys) == len(members) <= _MOST_MEMBERS


def drop_invalid_trace_headers(headers: Headers) -> tuple[list[tuple[bytes, bytes]], str | None]:
    """The headers without invalid trace headers, and the trace id of the valid ones.

    Sections 3.2 and 4.3: without a valid ``traceparent``, or with two, a new trace starts and ``tracestate`` is
    dropped, too; an invalid ``tracestate`` is dropped alone.
    """
    kept = list(headers)
    parents = [value for name, value in kept if name == b"traceparent"]
    trace_id = trace_id_of(parents[0]) if len(parents) == 1 else None
    # Several fields with the same name form one list (RFC 9110, section 5.3).
    states = b",".join([value for name, value in kept if name == b"tracestate"])
    invalid = set() if trace_id else {b"traceparent", b"tracestate"}
    if not is_tracestate(states):
        invalid.add(b"tracestate")
    return [pair for pair in kept if pair[0] not in invalid], trace_id
