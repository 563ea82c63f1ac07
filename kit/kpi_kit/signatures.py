"""Signatures of webhooks as Standard Webhooks 1.0 defines them.

A receiver needs no code of ours: there are libraries for most languages (https://www.standardwebhooks.com).
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "whsec_"


def sign(body: bytes, *, message_id: str, timestamp: int, secrets: Iterable[str]) -> dict[str, str]:
    """The three header fields. Each secret makes a signature, of which the receiver needs one."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [f"v1,{_compute_mac(signed, secret)}" for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def read_key(secret: str) -> bytes:
    """The key in ``whsec_...``, or in base64 alone; ValueError if it is not base64."""
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)


def _compute_mac(signed: bytes, secret: str) -> str:
    return base64.b64encode(hmac.digest(read_key(secret), signed, hashlib.sha256)).decode()
