import io

from kpi_cli.terminal import LogView

LINE = "\x1b[32minfo\x1b[0m GET /\x1b[2J\x9b31m\r\n\tend"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(output: io.StringIO) -> str:
    view = LogView(output)
    view.line("auth", "before the card")
    view.follow()
    view.line("auth", LINE)
    return output.getvalue()


def test_lines_carry_their_part_and_cannot_command_the_terminal() -> None:
    assert shown(io.StringIO()) == "auth     | info GET /\ufffd[2J\ufffd31m\ufffd\ufffd\tend\n"


def test_terminal_gets_the_colours_and_nothing_else() -> None:
    line = shown(Terminal())
    assert line.endswith("| \x1b[0m\x1b[32minfo\x1b[0m GET /\ufffd[2J\ufffd31m\ufffd\ufffd\tend\x1b[0m\n")
