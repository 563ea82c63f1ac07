"""The connection to NATS of the event bus, and of the platform's outlet for events. It needs nats-py (2.16)."""

import nats.errors
from nats.aio.client import Client


class TlsNotOfferedError(nats.errors.Error):
    """The server does not offer TLS, which the URL requires."""

    def __str__(self) -> str:
        return "nats: the server does not offer TLS, which tls:// requires"


class NatsClient(Client):
    """A connection that is made once, and that keeps the reason of its failure, if it is passed ``keep_reason``."""

    def __init__(self, *, is_encrypted: bool) -> None:
        super().__init__()
        self._is_encrypted = is_encrypted
        self.reason: Exception | None = None

    async def keep_reason(self, error: Exception) -> None:
        self.reason = error

    def _connect_command(self) -> bytes:
        """Refuse to send credentials unencrypted: the library encrypts only if the server, or an attacker, says so."""
        if self._is_encrypted and not self._server_info.get("tls_required"):
            raise TlsNotOfferedError
        return super()._connect_command()
