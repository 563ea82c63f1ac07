"""Receivers of webhooks on loopback that a test controls, their check of signatures, and events to send."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass
class FixedResolver:
    """Gives the same addresses for each host."""

    addresses: Sequence[str]
    calls: int = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.calls += 1
        return self.addresses


def verify(body: bytes, fields: Mapping[str, str], *, secret: str) -> bool:
    """What a receiver does, written after the specification and not with our code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join((fields["webhook-id"].encode(), fields["webhook-timestamp"].encode(), body))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    versions = [entry.split(",", 1) for entry in fields["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(found, expected) for version, found in versions)
