"""Positions as bytes and as cursors, and where a page ends."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest
from kpi_shared.cursors import CursorSealer, InvalidCursorError
from kpi_shared.paging import Page, PositionFormat, check_start, cut_page, decode_cursor, encode_cursor
from kpi_shared.tokens import KeyRing

TIME = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
SEALER = CursorSealer(KeyRing.local(bytes(range(1, 33))))


class List(NamedTuple):
    cursor_scope: str
    position_format: PositionFormat


FORMATS: list[tuple[PositionFormat, list[tuple[Any, ...]]]] = [
    (PositionFormat(int), [(0,), (2**63 - 1,), (-(2**63),)]),
    (
        PositionFormat(datetime, int),
        [(TIME, 1), (datetime(1, 1, 1, tzinfo=UTC), 2), (datetime.max.replace(tzinfo=UTC), 3)],
    ),
    (PositionFormat(float, int), [(37_500.123456789, 1), (-1e308, 2**63 - 1)]),
    (PositionFormat(str, int, text_bytes=(1, 32)), [("a", 1), ("x" * 32, 2), ("é\n", 3)]),
    (PositionFormat(int, str, datetime, text_bytes=(0, 8)), [(1, "", TIME), (2, "12345678", TIME)]),
]


@pytest.mark.parametrize(("form", "positions"), FORMATS)
def test_a_position_goes_through_a_cursor_unchanged(form: PositionFormat, positions: list[tuple[Any, ...]]) -> None:
    of = List("rows", form)
    for position in positions:
        cursor = encode_cursor(position, of=of, sealer=SEALER)
        assert re.fullmatch(form.cursor_pattern, cursor)
        assert decode_cursor(cursor, of=of, sealer=SEALER) == position


def test_a_time_of_another_zone_comes_back_in_utc() -> None:
    form = PositionFormat(datetime)
    [time] = form.unpack(form.pack([TIME.astimezone(timezone(timedelta(hours=5)))]))
    assert (time, time.tzinfo) == (TIME, UTC)


def test_a_pattern_names_the_lengths_that_cursors_have() -> None:
    assert PositionFormat(int, int).cursor_pattern == "^[A-Za-z0-9_-]{43}$"
    assert PositionFormat(str, int, text_bytes=(1, 32)).cursor_pattern == "^[A-Za-z0-9_-]{34,75}$"


def test_a_cursor_of_another_list_does_not_open() -> None:
    form = PositionFormat(int)
    cursor = encode_cursor((1,), of=List("rows\nnew", form), sealer=SEALER)
    with pytest.raises(InvalidCursorError):
        decode_cursor(cursor, of=List("rows\nold", form), sealer=SEALER)


def test_the_extra_row_makes_the_next_cursor_and_is_not_shown() -> None:
    assert cut_page([], limit=2, cursor_after=str) == Page([], None)
    assert cut_page([1, 2], limit=2, cursor_after=str) == Page([1, 2], None)
    assert cut_page([1, 2, 3], limit=2, cursor_after=str) == Page([1, 2], "2")


def test_a_page_starts_at_a_cursor_or_after_some_rows() -> None:
    check_start(cursor="c", skip=0)
    check_start(cursor=None, skip=5)
    with pytest.raises(InvalidCursorError, match="cannot be combined"):
        check_start(cursor="c", skip=5)
