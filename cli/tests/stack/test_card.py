"""The line of the start card about the first admin."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from kpi_cli.layout import Layout
from kpi_cli.stack import card
from kpi_cli.stack.ports import Ports
from kpi_cli.stack.state import Phase, State
from rich.console import Console


@contextmanager
def auth_that_says(body: bytes) -> Iterator[int]:
    """A stand-in for auth on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/bootstrap"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def shown_card(port: int, folder: Path) -> str:
    output = io.StringIO()
    state = State(pid=1, phase=Phase.READY, ports=Ports({"auth": port, "gateway": 8000}))
    card.show(Console(file=output, width=200), Layout(checkout=folder, home=folder), state)
    return output.getvalue()


@pytest.mark.parametrize(
    ("body", "is_shown"),
    [(b'{"is_open": true}', True), (b'{"is_open": false}', False), (b"ok", False), (b"[]", False), (b"1", False)],
)
def test_without_an_admin_the_card_says_how_to_make_one(tmp_path: Path, body: bytes, is_shown: bool) -> None:
    with auth_that_says(body) as port:
        text = shown_card(port, tmp_path)
    assert "Stop" in text
    assert ("bootstrap, to make the first admin" in text) is is_shown


def test_the_card_names_the_sample_posts_where_there_are_some(tmp_path: Path) -> None:
    assert "make load" not in shown_card(0, tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hacker_news.jsonl.gz").touch()
    assert "make load" in shown_card(0, tmp_path)


def test_the_card_does_not_need_auth(tmp_path: Path) -> None:
    assert "Bootstrap" not in shown_card(0, tmp_path)
