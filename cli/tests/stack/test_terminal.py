import os
import pty
import tty
from collections.abc import Callable

from kpi_cli.stack.terminal import LogView

LINE = "\x1b[32minfo\x1b[0m GET /\x1b[2J\x9b31m\r\n\tend"


def make_terminal() -> tuple[int, int]:
    reader, writer = pty.openpty()
    # The terminal would otherwise end lines with a carriage return too.
    tty.setraw(writer)
    return reader, writer


def log_lines(make: Callable[[], tuple[int, int]]) -> str:
    reader, writer = make()
    with os.fdopen(writer, "w", encoding="utf-8", closefd=True) as output:
        view = LogView("logs/", output)
        view.print_line("auth", "before the card")
        view.follow()
        view.print_line("auth", LINE)
        view.close()
        shown = os.read(reader, 4096)
    os.close(reader)
    return shown.decode()


def test_lines_begin_with_their_part_and_cannot_control_the_terminal() -> None:
    assert log_lines(os.pipe) == "auth     | info GET /\ufffd[2J\ufffd31m\ufffd\ufffd\tend\n"


def test_terminal_gets_colours_and_no_other_control_sequences() -> None:
    line = log_lines(make_terminal)
    assert line.endswith("| \x1b[0m\x1b[32minfo\x1b[0m GET /\ufffd[2J\ufffd31m\ufffd\ufffd\tend\x1b[0m\n")
