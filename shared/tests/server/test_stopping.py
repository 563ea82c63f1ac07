"""What is on its way to a server that stops: it is served, or its client learns that nothing of it was begun."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from kpi_shared.server import ending
from kpi_shared.server.serving import refuse_handshakes
from server_support import App, run_server
from starlette.types import Receive, Scope, Send

POST = b"POST /length HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody"
NOT_BEGUN = b"HTTP/1.1 408 Request Timeout\r\nx-request-begun: no\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
# What makes a server one of a service.
SERVICE = {"request_timeout": 5.0}
Run = Callable[[Coroutine[Any, Any, None]], None]


def read_all(client: socket.socket) -> bytes:
    client.settimeout(10)
    received = b""
    while piece := client.recv(4096):
        received += piece
    return received


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_connections_that_are_not_yet_accepted_are_served(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "STOP_SECONDS", 60.0)

    async def stop_with_waiting_connections() -> None:
        async with run_server(App(), **SERVICE) as server:
            # The loop does not run here: the system establishes these connections alone.
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
            for client in clients:
                client.sendall(POST)
            await server.shut_down()
            for client in clients:
                response = read_all(client)
                assert response.startswith(b"HTTP/1.1 200 ")
                assert b"connection: close\r\n" in response
                client.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port))

    run(stop_with_waiting_connections())


def test_a_listener_that_stops_establishes_no_connection_and_keeps_those_that_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as before:
            refuse_handshakes(listener)
            with pytest.raises(TimeoutError):
                # Established at once on this machine, if at all.
                socket.create_connection(("127.0.0.1", port), timeout=0.1)
            accepted, address = listener.accept()
            with accepted:
                assert address == before.getsockname()
                before.sendall(b"x")
                assert accepted.recv(1) == b"x"


@pytest.mark.parametrize("before", [b"", POST[:20]])
async def test_a_request_that_crosses_the_end_of_an_idle_connection_learns_that_it_was_not_begun(
    before: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "STOP_SECONDS", 0.0)
    calls = 0

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        await App()(scope, receive, send)

    async with run_server(count, **SERVICE) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST + before)
        await reader.readuntil(b"\r\n\r\n4")
        server.stop()
        assert await reader.readexactly(len(NOT_BEGUN)) == NOT_BEGUN
        # As if it had been sent before that arrived. A reset would raise an error here.
        writer.write(POST[len(before) :])
        await writer.drain()
        assert await reader.read() == b""
        writer.write(POST)
        await writer.drain()
        writer.close()
        await server.shut_down()
    assert calls == 1


async def test_a_client_that_ignores_the_end_does_not_keep_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "STOP_SECONDS", 0.0)
    monkeypatch.setattr(ending, "LINGER_SECONDS", 0.0)
    async with run_server(App(), **SERVICE) as server:
        # It is accepted after the stop has begun.
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            await server.shut_down()
            assert read_all(client) == NOT_BEGUN


async def test_a_connection_whose_response_did_not_announce_its_end_serves_one_more_request() -> None:
    app = App()
    async with run_server(app, **SERVICE) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /begun HTTP/1.1\r\nHost: test\r\n\r\n")
        assert b"connection: close" not in await reader.readuntil(b"first")
        server.stop()
        app.release.set()
        await reader.readuntil(b"last\r\n0\r\n\r\n")
        writer.write(POST)
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in response
        writer.close()


async def test_a_client_of_the_gateway_gets_no_response_that_it_did_not_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "STOP_SECONDS", 0.0)
    async with run_server(App()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST)
        await reader.readuntil(b"\r\n\r\n4")
        await server.shut_down()
        assert await reader.read() == b""
        writer.close()
