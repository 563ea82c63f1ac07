"""What is printed through a bounded queue, with readers that read late, never, or no longer."""

import os
import pty
import re
import threading
from collections.abc import Callable, Iterator

import pytest
from kpi_cli.stack.screen import Screen, print_in_time
from kpi_shared.testing.process import wait_until

LINES = 50_000


@pytest.fixture(params=[os.pipe, pty.openpty], ids=["pipe", "terminal"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    make: Callable[[], tuple[int, int]] = request.param
    reader, writer = make()
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


def make_screen(writer: int, limit: int = 1_000_000) -> Screen:
    with os.fdopen(writer, "w", encoding="utf-8", closefd=False) as output:
        return Screen(output, lambda count: f"{count} lines not shown", limit)


def read_until(reader: int, text: str) -> str:
    shown = b""
    while text.encode() not in shown:
        shown += os.read(reader, 65536)
    return shown.decode().replace("\r\n", "\n")


def test_an_output_that_is_not_read_holds_up_no_caller_and_what_was_dropped_is_counted(ends: tuple[int, int]) -> None:
    reader, writer = ends
    screen = make_screen(writer)
    for number in range(LINES):
        screen.put(f"line {number} {'.' * 100}")
    screen.put("a message", droppable=False)

    lines = read_until(reader, "not shown").splitlines()
    kept = [int(found[1]) for line in lines if (found := re.match(r"line (\d+) ", line))]
    assert kept == list(range(len(kept)))
    assert lines[len(kept) :] == ["a message", f"{LINES - len(kept)} lines not shown"]
    # Once all of it has been read, lines are shown again.
    screen.put("another line")
    assert read_until(reader, "another line").endswith("another line\n")
    screen.close()


def test_lines_that_are_read_are_all_shown_in_their_order(ends: tuple[int, int]) -> None:
    reader, writer = ends
    screen = make_screen(writer, limit=10_000_000)
    shown: list[str] = []
    reading = threading.Thread(target=lambda: shown.append(read_until(reader, "the end\n"[:-1])), daemon=True)
    reading.start()
    for number in range(5000):
        screen.put(f"line {number}")
    screen.put("the end")
    screen.close()
    reading.join(60)
    assert shown[0].splitlines() == [*(f"line {number}" for number in range(5000)), "the end"]


def test_the_end_does_not_wait_for_an_output_that_is_not_read(ends: tuple[int, int]) -> None:
    _, writer = ends
    screen = make_screen(writer)
    for _ in range(LINES):
        screen.put("." * 100)
    screen.close()
    with os.fdopen(writer, "w", closefd=False) as output:
        print_in_time("a last message", output)


def test_a_closed_output_is_reported_once_whenever_it_was_closed() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    screen = make_screen(writer)
    screen.put("a line")
    early: list[str] = []
    screen.on_closed(lambda: early.append("closed"))
    wait_until(lambda: bool(early))
    late: list[str] = []
    screen.on_closed(lambda: late.append("closed"))
    screen.put("another line")
    screen.close()
    os.close(writer)
    assert (early, late) == (["closed"], ["closed"])


def test_a_command_without_an_output_prints_nothing() -> None:
    screen = Screen(None, notice=str)
    screen.put("a line")
    screen.close()
