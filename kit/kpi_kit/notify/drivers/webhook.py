"""Webhooks, signed as Standard Webhooks 1.0 defines it.

Not by apprise 2.3: it signs nothing, sends to private addresses, and returns True or False.
"""

import ipaddress
import json
import time
from collections.abc import Sequence

from kpi_kit.addresses import Network
from kpi_kit.destinations import Destinations
from kpi_kit.errors import UrlError
from kpi_kit.notify.contents import ContentKind, WebhookContent
from kpi_kit.notify.contract import Delivery, Traits
from kpi_kit.notify.http_channel import check_url, create_not_open_error, translate_errors
from kpi_kit.posting import WebhookSender
from kpi_kit.resolver import SystemResolver
from kpi_kit.signatures import read_key, sign
from kpi_kit.urls import Url

# The specification wants keys of 24 to 64 bytes.
_KEY_BYTES = range(24, 65)
_FORM = "webhook://:whsec_...@receiver.example.com/hooks"


class WebhookChannel:
    """Sends to one receiver, or to that of each recipient."""

    def __init__(
        self,
        receiver: str | None,
        secret: str,
        *,
        schemes: frozenset[str],
        allowed: Sequence[Network],
        seconds: float,
    ) -> None:
        self.traits = Traits("webhook", ContentKind.WEBHOOK, needs_address=receiver is None)
        self._receiver = receiver
        self._secret = secret
        self._schemes = schemes
        self._allowed = allowed
        self._seconds = seconds
        self._opened: tuple[SystemResolver, WebhookSender] | None = None

    async def open(self) -> None:
        resolver = SystemResolver()
        destinations = Destinations(resolver, schemes=self._schemes, allowed=self._allowed)
        sender = WebhookSender(destinations, seconds=self._seconds)
        await sender.load()
        self._opened = resolver, sender

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[0].close()

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:  # noqa: ARG002 takes none
        if self._opened is None:
            raise create_not_open_error()
        body = _encode(delivery)
        # The time is that of the attempt: receivers refuse signatures that are older than some minutes.
        signed = sign(body, message_id=delivery.id, timestamp=int(time.time()), secrets=[self._secret])
        with translate_errors():
            await self._opened[1].send(self._receiver or delivery.address, body, signed)


def _encode(delivery: Delivery) -> bytes:
    content = WebhookContent.model_validate(delivery.content)
    timestamp = delivery.created_at.isoformat().replace("+00:00", "Z")
    return json.dumps({"type": content.type, "timestamp": timestamp, "data": content.data}).encode()


def create_driver(parts: Url, seconds: float) -> WebhookChannel:
    """``webhook://:SECRET@host/path``, or ``webhook://:SECRET@`` for the addresses of recipients."""
    scheme = "http" if parts.scheme == "webhook+http" else "https"
    if parts.username or not _is_key(parts.password or ""):
        raise UrlError(f"a secret of 24 to 64 bytes in base64 is needed: {_FORM}")
    if not parts.host and parts.place.strip("/"):
        raise UrlError("a webhook:// URL without a host has no port and no path: the recipients have the addresses")
    receiver = check_url(f"{scheme}://{parts.place}", _FORM) if parts.host else None
    schemes = frozenset({"https", scheme})
    allowed = _read_networks(parts.options.get("allow", ""))
    return WebhookChannel(receiver, parts.password or "", schemes=schemes, allowed=allowed, seconds=seconds)


def _is_key(secret: str) -> bool:
    try:
        return len(read_key(secret)) in _KEY_BYTES
    except ValueError:
        return False


def _read_networks(text: str) -> list[Network]:
    try:
        return [ipaddress.ip_network(each) for each in text.split(",") if each]
    except ValueError:
        raise UrlError("allow has networks, separated by commas: allow=10.0.0.0/8,fd00::/8") from None
