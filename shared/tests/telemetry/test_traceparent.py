"""W3C Trace Context: which headers are passed on."""

import pytest
from kpi_shared.telemetry.traceparent import drop_invalid_trace_headers, is_tracestate, trace_id_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TOO_MANY = b",".join(b"k%d=1" % number for number in range(33))
VALID = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    "value",
    [
        VALID,
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-01",
    ],
)
def test_a_valid_traceparent_has_a_trace_id(value: str) -> None:
    assert trace_id_of(value.encode()) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        VALID.upper(),
        VALID + "\n",
        VALID + "-",
        VALID + "-more",
        " " + VALID,
        VALID[:-1],
        VALID + "0",
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0g",
        f"01-{TRACE}-{PARENT}-01more",
        f"01-{TRACE}-{PARENT}-01-" + "x" * 600,
        "00_" + VALID[3:],
    ],
)
def test_an_invalid_traceparent_has_no_trace_id(value: str) -> None:
    assert trace_id_of(value.encode()) is None


@pytest.mark.parametrize("value", [b"", b"a=1", b"a=1, b=2,\tc=3", b"a=1,,b=2", b"1t@vendor=x y", b"a=" + b"x" * 256])
def test_a_list_of_members_is_a_valid_tracestate(value: bytes) -> None:
    assert is_tracestate(value)


@pytest.mark.parametrize(
    "value",
    [b"a", b"a=", b"A=1", b"a=1,a=2", b"a=1;b=\x01", b"a=b=c", b"a=" + b"x" * 257, b"@v=1", b"a=\xff", TOO_MANY],
)
def test_anything_else_is_not_a_valid_tracestate(value: bytes) -> None:
    assert not is_tracestate(value)


def test_other_headers_are_unchanged() -> None:
    parent, state, other = (b"traceparent", VALID.encode()), (b"tracestate", b"a=1"), (b"x", b"1")
    assert drop_invalid_trace_headers([other, parent, state]) == ([other, parent, state], TRACE)
    assert drop_invalid_trace_headers([parent, other, (b"tracestate", b"A=1")]) == ([parent, other], TRACE)
    assert drop_invalid_trace_headers([(b"traceparent", b"x"), other, state]) == ([other], None)
    assert drop_invalid_trace_headers([state, other]) == ([other], None)
    # It is unknown which of two is the right one.
    assert drop_invalid_trace_headers([parent, other, parent, state]) == ([other], None)
