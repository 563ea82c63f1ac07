"""The secrets of webhooks, and signatures with them as Standard Webhooks 1.0 defines them.

A receiver needs no code of ours: there are libraries for most languages (https://www.standardwebhooks.com).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from kpi_shared.tokens import InvalidTokenError, open_sealed, seal

from kpi_auth.settings.secret_keys import SecretKeys

PREFIX = "whsec_"
# The specification wants 24 to 64.
_SECRET_BYTES = 32
_PURPOSE = b"webhooks"
# Prevents an encrypted secret from being accepted as something else that these keys encrypt.
_IMPLICIT = b"kpi-webhook-secret"


class UnreadableSecretError(Exception):
    """The secret was encrypted with a key that is no longer known, or was modified."""


class SecretSealer:
    """Encrypts the secrets that the database stores."""

    def __init__(self, keys: SecretKeys) -> None:
        self._keys = keys.derive_own(_PURPOSE)

    def seal(self, secret: str) -> str:
        return seal(secret.encode(), key=self._keys[0], implicit=_IMPLICIT)

    def open(self, sealed: str) -> str:
        for key in self._keys:
            try:
                return open_sealed(sealed, key=key, implicit=_IMPLICIT).decode()
            except InvalidTokenError:
                continue
        raise UnreadableSecretError


def make_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(body: bytes, *, message_id: str, timestamp: int, secrets: Iterable[str]) -> dict[str, str]:
    """The three header fields. Each secret makes a signature, of which the receiver needs one."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [f"v1,{_compute_mac(signed, secret)}" for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _compute_mac(signed: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
