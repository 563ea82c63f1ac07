"""The server of every part: uvicorn's, which loses no connection when it stops. See docs/adr/0059.

Looked at on 2026-11-28: uvicorn 0.54 closes its listeners at once, and Linux resets the connections that are
established and not yet accepted, with the requests that have arrived on them. SHUT_RD on a listener does the same, and
a backlog of 0 still lets one connection in.
"""

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from time import monotonic
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import ChangeReload, Multiprocess, multiprocess

from kpi_shared.server.connections import watch_of

# Handshakes that have begun when a listener stops have this time to end, some round trips within a data centre. A
# client that begins one meanwhile has to wait for a second.
_HANDSHAKE_SECONDS = 0.001
# Linux: asm-generic/socket.h; linux/filter.h, linux/bpf_common.h. A packet begins with its TCP header here.
_SO_ATTACH_FILTER = 26
_FLAGS_OFFSET, _SYN, _SYN_ACK = 13, 0x02, 0x12
_LOAD_BYTE, _AND, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_DROP, _PASS = 0, 0xFFFFFFFF
_REFUSE_HANDSHAKES = (
    (_LOAD_BYTE, 0, 0, _FLAGS_OFFSET),
    (_AND, 0, 0, _SYN_ACK),
    (_JUMP_IF_EQUAL, 0, 1, _SYN),
    (_RETURN, 0, 0, _DROP),
    (_RETURN, 0, 0, _PASS),
)


class Server(uvicorn.Server):
    """Serves all connections that are established when it stops; see EndingProtocol for how these end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        watch_of(self.server_state).is_stopping = True
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for connection in self._stop_listening(server):
                # A client that has left meanwhile is an OSError.
                with suppress(OSError):
                    await loop.connect_accepted_socket(self._create_protocol, connection, ssl=self.config.ssl)
        await super().shutdown(sockets)

    def _stop_listening(self, server: asyncio.Server) -> list[socket.socket]:
        """Close the listeners and return the connections that waited there. The event loop does not run meanwhile."""
        listeners = list(server.sockets)
        if self.config.workers == 1:
            # Otherwise the listeners belong to other processes too, which may go on.
            for listener in listeners:
                refuse_handshakes(listener)
        connections = []
        until = monotonic() + _HANDSHAKE_SECONDS
        # Without a pause, after which a busy machine would return late.
        while True:
            connections += [each for listener in listeners for each in accept_all(listener)]
            if monotonic() >= until:
                server.close()
                return connections

    def _create_protocol(self) -> asyncio.Protocol:
        create: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = create(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def refuse_handshakes(listener: Any) -> None:  # noqa: ANN401 a socket, or what uvloop has in its place
    """Let no further connection be established: a client repeats its SYN after a second, and is refused then."""
    if sys.platform != "linux":
        return
    program = create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _REFUSE_HANDSHAKES))
    # A sandbox may forbid it; then a connection may be lost in the microseconds before the listener is closed.
    with suppress(OSError):
        pointer = struct.pack("HP", len(_REFUSE_HANDSHAKES), addressof(program))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


def accept_all(listener: Any) -> Iterator[socket.socket]:  # noqa: ANN401 as above
    """The connections that are established and not yet accepted, until none is left or an error prevents it."""
    with socket.socket(fileno=os.dup(listener.fileno())) as own, suppress(OSError):
        own.setblocking(False)
        while True:
            connection, _ = own.accept()
            connection.setblocking(False)
            yield connection


class _Worker(multiprocess.Process):
    """One of several processes that serve the same listeners."""

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = Server(self.config)
        return self._server


class _Workers(Multiprocess):
    """The process that starts them."""

    def terminate_all(self) -> None:
        # It accepts nothing: what came in between the end of the workers and its own would be lost.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def run(app: str, **options: Any) -> None:  # noqa: ANN401 those of uvicorn.Config
    """As ``uvicorn.run``, with this server."""
    config = uvicorn.Config(app, **options)
    server = Server(config)
    with suppress(KeyboardInterrupt):
        if config.should_reload:
            ChangeReload(config, target=server.run, sockets=[config.bind_socket()]).run()
        elif config.workers > 1:
            # uvicorn has no parameter for it.
            multiprocess.Process = _Worker  # type: ignore[misc]
            _Workers(config, [config.bind_socket()]).run()
        else:
            config.load_app()
            server.run()
    if not server.started and not config.should_reload and config.workers == 1:
        sys.exit(STARTUP_FAILURE)
