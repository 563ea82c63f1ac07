"""The secrets of webhooks, with which ``kpi_kit.signatures`` signs."""

import base64
import secrets

from kpi_kit.signatures import PREFIX
from kpi_shared.tokens import InvalidTokenError, open_sealed, seal

from kpi_auth.settings.secret_keys import SecretKeys

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
