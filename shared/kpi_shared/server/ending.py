"""How a connection ends: after a response that is its last, or when the server stops. See docs/adr/0059.

Looked at on 2026-11-28: uvicorn 0.54 closes idle connections at once when it stops, and so loses what is on its way.
"""

import asyncio
from typing import Any

from kpi_shared.server.beat import Beat
from kpi_shared.server.connections import Outflow
from kpi_shared.server.reading import ReadingProtocol
from kpi_shared.server.refusals import NOT_BEGUN_RESPONSE

# How long an idle connection is kept when the server stops.
STOP_SECONDS = 0.5
# How long its client then has to read that the connection has ended, before it is closed.
LINGER_SECONDS = 1.0
# A member of the lifespan's state: functions to call once when the server stops.
ON_STOP = "on_stop"


class EndingProtocol(ReadingProtocol):
    """The part of a connection that ends it."""

    # In a service. The gateway has deadlines of its own, and ends the work of a client that has left itself.
    beat: Beat | None = None
    # How much has been read and discarded since the end; None before it.
    _drained: int | None = None
    _drained_since = 0
    _is_stopping = False

    def start_outflow(self) -> None:
        self._outflow = Outflow()

    def write(self, data: bytes) -> None:
        self._outflow.written += len(data)
        self.transport.write(data)

    def shutdown(self) -> None:
        """Called when the server stops, or accepts a connection after that.

        A request may be on its way on an idle connection, and a client may not repeat it unless it is idempotent. So
        the connection ends after the next response, or if none is requested within STOP_SECONDS.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        # All connections share the state, and the first one takes these out of it.
        for end in self.app_state.pop(ON_STOP, ()):
            end()
        exchange: Any = self.cycle
        if exchange is None or exchange.response_complete:
            self._end_when_idle()
        elif not exchange.has_head:
            exchange.keep_alive = False

    def _end_when_idle(self) -> None:
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        if self._drained is not None:
            self.transport.close()
        elif self.transport.is_closing() or self._responding or self._in_body:
            # It ends after the response.
            return
        elif self.beat is None:
            # The clients of the gateway are browsers, among others, some of which would show the response to a person.
            self.transport.close()
        else:
            # Whatever arrives from now on, or waits unread in the system, is discarded.
            self.write(NOT_BEGUN_RESPONSE)
            self._end_after_drain()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.close)

    def _end_after_drain(self) -> None:
        """Close the sending side, but read on for a while: a reset would lose the response to a client that sends."""
        if self._half_closed_at is not None:
            self.transport.close()
            return
        self._drained = 0
        self._drained_since = self._watch.now
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
