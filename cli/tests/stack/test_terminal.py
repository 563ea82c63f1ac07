import io

from kpi_cli.stack.terminal import LogView

LINE = "\x1b[32minfo\x1b[0m GET /\x1b[2J\x9b31m\r\n\tend"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def log_lines(output: io.StringIO) -> str:
    view = LogView(output)
    view.print_line("auth", "before the card")
    view.follow()
    view.print_line("auth", LINE)
    return output.getvalue()


def test_lines_begin_with_their_part_and_cannot_control_the_terminal() -> None:
    assert log_lines(io.StringIO()) == "auth     | info GET /\ufffd[2J\ufffd31m\ufffd\ufffd\tend\n"


def test_terminal_gets_colours_and_no_other_control_sequences() -> None:
    line = log_lines(Terminal())
    assert line.endswith("| \x1b[0m\x1b[32minfo\x1b[0m GET /\ufffd[2J\ufffd31m\ufffd\ufffd\tend\x1b[0m\n")
