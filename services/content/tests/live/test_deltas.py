"""The two forms of streamed uploads, however their bytes are cut."""

import pytest
from kpi_content.live.deltas import Delta, create_parser
from kpi_content.messages.models import MessageRole
from kpi_content.messages.upload_documents import EVENT_STREAM, LINES
from kpi_content.messages.upload_errors import MalformedUploadError

LINES_BODY = '{"role":"system","metadata":{"a":1},"delta":"Bees é"}\r\n\n{"delta":" dance"}\n{"delta":"."}'.encode()
EVENTS_BODY = (
    'event: delta\nid: 7\ndata: {"role":"system","metadata":{"a":1},"delta":"Bees é"}\n\n'
    ": a comment\n\ndata:  dance\r\n\r\ndata:.\n\ndata: [DONE]\n\ndata: ignored\n\n"
).encode()


def read(kind: str, *pieces: bytes) -> list[Delta]:
    parser = create_parser(kind)
    found = [delta for piece in pieces for delta in parser.read(piece)]
    return [*found, *parser.finish()]


@pytest.mark.parametrize(("kind", "body"), [(LINES, LINES_BODY), (EVENT_STREAM, EVENTS_BODY)], ids=["lines", "events"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_deltas_are_the_same_however_the_body_is_cut(kind: str, body: bytes, size: int) -> None:
    found = read(kind, *(body[at : at + size] for at in range(0, len(body), size)))
    assert [delta.delta for delta in found] == ["Bees é", " dance", "."]
    assert (found[0].role, found[0].metadata) == (MessageRole.SYSTEM, {"a": 1})
    assert all(delta.role is None for delta in found[1:])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("{", "{"),
        ("{}", "{}"),
        ('{"a": 1} ...', '{"a": 1} ...'),
        ('["delta"]', '["delta"]'),
        ('"quoted"', '"quoted"'),
        ("[DONE] not", "[DONE] not"),
        ("one\ndata: two", "one\ntwo"),
        ('{"delta": "\\u0009"}', "\t"),
    ],
)
def test_an_event_whose_data_is_no_delta_is_text(data: str, text: str) -> None:
    assert [delta.delta for delta in read(EVENT_STREAM, f"data: {data}\n\n".encode())] == [text]


def test_the_end_of_an_upload_is_known_before_the_end_of_its_body() -> None:
    parser = create_parser(EVENT_STREAM)
    assert [delta.delta for delta in parser.read(b"data: a\n\ndata: [DO")] == ["a"]
    assert not parser.is_done
    assert list(parser.read(b"NE]\n\n")) == []
    assert parser.is_done


def test_an_event_that_its_body_does_not_end_is_read() -> None:
    assert [delta.delta for delta in read(EVENT_STREAM, b"data: a\n\ndata: b")] == ["a", "b"]


@pytest.mark.parametrize(("kind", "body"), [(LINES, LINES_BODY), (EVENT_STREAM, EVENTS_BODY)], ids=["lines", "events"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_byte_order_mark_is_no_part_of_the_text(kind: str, body: bytes, size: int) -> None:
    body = b"\xef\xbb\xbf" + body.replace(b"event: delta\nid: 7\n", b"")
    found = read(kind, *(body[at : at + size] for at in range(0, len(body), size)))
    assert [delta.delta for delta in found] == ["Bees é", " dance", "."]


@pytest.mark.parametrize(
    ("kind", "body", "detail", "pointer"),
    [
        (LINES, b'{"delta": "a"}\n\n[x\n', "Line 3: Invalid JSON: expected value at column 2", "#/body"),
        (LINES, b'{"delta": "a"}\r{"delta": 1}\n', "Line 2: delta: Input should be a valid string", "#/body/delta"),
        (LINES, b'{"delta": "a"}\n{"delta": "\xff"}\n', "Line 2 is not UTF-8", "#/body"),
        (
            EVENT_STREAM,
            b'data: a\n\ndata: {\ndata: "b": 1}\n\n',
            "Line 3: b: Extra inputs are not permitted",
            "#/body/b",
        ),
    ],
)
def test_a_fault_is_reported_with_its_line_and_its_place(kind: str, body: bytes, detail: str, pointer: str) -> None:
    with pytest.raises(MalformedUploadError) as caught:
        read(kind, body)
    [error] = caught.value.errors or ()
    assert (caught.value.detail, error["pointer"]) == (detail, pointer)
    assert error["detail"]
    assert error["type"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (LINES, b"text\n"),
        (LINES, b'{"delta": 1}\n'),
        (LINES, b'{"delta": "a", "more": 1}\n'),
        (LINES, b'{"delta": "\\u0000"}\n'),
        (LINES, b'{"delta": "\\ud83d"}\n'),
        (LINES, b'{"role": "admin", "delta": "a"}\n'),
        (LINES, b'{"delta": "\xff"}\n'),
        (LINES, b'["delta"]\n'),
        (LINES, b"x" * 2_100_000),
        (EVENT_STREAM, b'data: {"delta": 1}\n\n'),
        (EVENT_STREAM, b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'),
        (EVENT_STREAM, b'event: error\ndata:  {"message": "overloaded"}\n\n'),
        (EVENT_STREAM, b"data: \x00\n\n"),
        (EVENT_STREAM, b"data: \xff\n\n"),
        (EVENT_STREAM, b"data:" + b"x" * 1_100_000 + b"\ndata:" + b"x" * 1_100_000),
        (EVENT_STREAM, b"data:\n" * 2_100_000),
    ],
)
def test_what_cannot_be_read_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(MalformedUploadError):
        read(kind, body)
