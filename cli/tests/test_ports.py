import json
import socket
from dataclasses import asdict
from pathlib import Path

import pytest
from cli_harness import free_port
from kpi_cli import ports
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(checkout=tmp_path, home=tmp_path)


def test_all_ports_differ_and_are_remembered(layout: Layout) -> None:
    first, _ = ports.choose(layout, None)
    second, said = ports.choose(layout, None)
    assert len(set(asdict(first).values())) == 7
    assert second == first
    assert said == ""


def test_remembered_port_that_is_taken_gives_way_and_is_said(layout: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        layout.ports.write_text(json.dumps({"gateway": port, "auth": port}))
        chosen, said = ports.choose(layout, None)
    assert port not in {chosen.gateway, chosen.auth}
    assert f"port {port} is taken by another program: the gateway uses {chosen.gateway}" in said
    assert ports.recall(layout)["gateway"] == chosen.gateway


def test_port_asked_for_by_name_is_used_and_not_remembered(layout: Layout) -> None:
    usual, asked = free_port(), free_port()
    layout.ports.write_text(json.dumps({"gateway": usual}))
    assert ports.choose(layout, asked)[0].gateway == asked
    assert ports.recall(layout)["gateway"] == usual


def test_port_asked_for_and_taken_is_refused(layout: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(FailureError, match="asked for by name"):
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
def test_damaged_memory_is_no_memory(layout: Layout, text: str) -> None:
    layout.ports.write_text(text)
    assert ports.recall(layout) == {}


def test_next_free_port_is_not_one_of_the_services_by_hand(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: port != ports.GATEWAY_PORT)
    assert ports.choose(layout, None)[0].gateway == 8003


def test_a_command_without_a_gateway_leaves_its_port_alone(layout: Layout) -> None:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        busy = taken.getsockname()[1]
        layout.ports.write_text(json.dumps({"gateway": busy}))
        ports.choose_without_gateway(layout)
    assert ports.recall(layout)["gateway"] == busy
