"""Webhooks, signed as Standard Webhooks 1.0 defines it.

Not by apprise 2.3: it signs nothing, sends to private addresses, and returns True or False.
"""

import ipaddress
import json
import time

import httpx

from kpi_kit.addresses import Network
from kpi_kit.errors import UrlError
from kpi_kit.notify.contents import ContentKind, WebhookContent
from kpi_kit.notify.contract import Delivery, Traits
from kpi_kit.notify.destinations import Destinations
from kpi_kit.notify.errors import ChannelUnavailableError, DeliveryRefusedError
from kpi_kit.notify.posting import Answer, Poster
from kpi_kit.signatures import read_key, sign
from kpi_kit.urls import Url

_GONE = 410
# The specification wants keys of 24 to 64 bytes.
_KEY_BYTES = range(24, 65)


class WebhookChannel:
    """Sends to one receiver, or to that of each recipient."""

    def __init__(self, receiver: str | None, secret: str, destinations: Destinations, seconds: float) -> None:
        self.traits = Traits("webhook", ContentKind.WEBHOOK, needs_address=receiver is None)
        self._receiver = receiver
        self._secret = secret
        self._destinations = destinations
        # The host is resolved and checked anew for each event, so no connection is kept.
        self._poster = Poster(seconds, keeps_connections=False)

    async def open(self) -> None:
        self._destinations.open()
        await self._poster.open()

    async def close(self) -> None:
        await self._poster.close()
        self._destinations.close()

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:  # noqa: ARG002 takes none
        body, until = _encode(delivery), self._poster.find_end()
        destination = await self._destinations.find(self._receiver or delivery.address)
        # The time is that of the attempt: receivers refuse signatures that are older than some minutes.
        signed = sign(body, message_id=delivery.id, timestamp=int(time.time()), secrets=[self._secret])
        headers = {"Host": destination.authority, "Content-Type": "application/json", **signed}
        answer = await self._poster.post(
            destination.url, content=body, headers=headers, server_name=destination.server_name, until=until
        )
        _check(answer)


def _encode(delivery: Delivery) -> bytes:
    content = WebhookContent.model_validate(delivery.content)
    timestamp = delivery.created_at.isoformat().replace("+00:00", "Z")
    return json.dumps({"type": content.type, "timestamp": timestamp, "data": content.data}).encode()


def _check(answer: Answer) -> None:
    """Any error but 410 may pass: the specification wants attempts over days, since receivers have faults, too."""
    if httpx.codes.is_success(answer.status):
        return
    if answer.status == _GONE:
        raise DeliveryRefusedError("410 Gone: the receiver wants no further events")
    if httpx.codes.is_redirect(answer.status):
        raise ChannelUnavailableError(f"the receiver responded {answer.status}, and redirects are not followed")
    raise ChannelUnavailableError(f"the receiver responded {answer.status}")


def create_driver(parts: Url, seconds: float) -> WebhookChannel:
    """``webhook://:SECRET@host/path``, or ``webhook://:SECRET@`` for the addresses of recipients."""
    scheme = "http" if parts.scheme == "webhook+http" else "https"
    if parts.username or not _is_key(parts.password or ""):
        raise UrlError(
            "a secret of 24 to 64 bytes in base64 is needed: webhook://:whsec_...@receiver.example.com/hooks"
        )
    if not parts.host and parts.path not in ("", "/"):
        raise UrlError("a webhook:// URL without a host has no path: the recipients have the addresses")
    receiver = f"{scheme}://{parts.text.partition('?')[0].rpartition('@')[2]}" if parts.host else None
    schemes = frozenset({"https", scheme})
    destinations = Destinations(
        schemes=schemes, allowed=_read_networks(parts.options.get("allow", "")), seconds=seconds
    )
    return WebhookChannel(receiver, parts.password or "", destinations, seconds)


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
