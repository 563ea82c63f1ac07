import io

from kpi_cli.terminal import LogView


def test_lines_carry_their_part_and_cannot_command_the_terminal() -> None:
    output = io.StringIO()
    view = LogView(output)
    view.line("auth", "before the card")
    view.follow()
    view.line("auth", "GET /\x1b[2J\x9b31m\r\n\tend")
    assert output.getvalue() == "auth     | GET /\ufffd[2J\ufffd31m\ufffd\ufffd\tend\n"
