import json
import socket
from pathlib import Path

import pytest
from cli_harness import free_port
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.parts import GATEWAY, PARTS
from kpi_cli.stack import ports


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(checkout=tmp_path, home=tmp_path)


def test_all_ports_differ_and_are_remembered(layout: Layout) -> None:
    first, _ = ports.choose(layout, None)
    second, notice = ports.choose(layout, None)
    assert len(set(first.by_name.values())) == 2 * len(PARTS) + 2
    assert second == first
    assert notice == ""


def test_another_port_replaces_a_remembered_one_in_use_and_is_reported(layout: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        layout.ports.write_text(json.dumps({"gateway": port, "auth": port}))
        chosen, notice = ports.choose(layout, None)
    assert port not in {chosen.gateway, chosen.by_name["auth"]}
    assert f"port {port} is in use by another program: the gateway uses {chosen.gateway}" in notice
    assert ports.recall(layout)["gateway"] == chosen.gateway


def test_port_that_was_set_explicitly_is_used_and_not_remembered(layout: Layout) -> None:
    usual, explicit = free_port(), free_port()
    layout.ports.write_text(json.dumps({"gateway": usual}))
    assert ports.choose(layout, explicit)[0].gateway == explicit
    assert ports.recall(layout)["gateway"] == usual


def test_explicit_port_in_use_is_refused(layout: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(FailureError, match="set explicitly"):
        ports.choose(layout, taken.getsockname()[1])


def test_port_of_a_connection_that_just_ended_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            connection, _ = server.accept()
            # The server closes first, so that its side waits in TIME_WAIT as after a stopped stack.
            connection.close()
    assert ports.is_free(port)


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"gateway": "x"}', "null"])
def test_damaged_file_means_that_no_ports_are_known(layout: Layout, text: str) -> None:
    layout.ports.write_text(text)
    assert ports.recall(layout) == {}


def test_next_free_port_is_not_the_default_of_a_service(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: port != GATEWAY.port)
    assert ports.choose(layout, None)[0].gateway == max(part.port for part in PARTS) + 1


def test_a_command_without_a_gateway_keeps_its_remembered_port(layout: Layout) -> None:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        busy = taken.getsockname()[1]
        layout.ports.write_text(json.dumps({"gateway": busy}))
        ports.choose_without_gateway(layout)
    assert ports.recall(layout)["gateway"] == busy
