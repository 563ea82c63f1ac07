"""What a driver of ``http`` does."""

from typing import Protocol

from kpi_kit.http.messages import Request, Response


class Transport(Protocol):
    """Sends a request once, over connections that it keeps while it is open; repeats nothing, and keeps no cookies."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, request: Request) -> Response:
        """The complete response, whatever its status.

        ConnectionFailedError, HttpTimeoutError, NoFreeConnectionError, ResponseTooLargeError or ResponseFormatError.
        """
        ...
