"""The keys of what lives longer than an access token: refresh tokens and other values that this service alone checks.

PASETO_SECRET_KEY is shared with the other parts and is replaced regularly; whatever depends on it ends with it. So each
purpose derives a key of its own from AUTH_SECRET_KEY, which is replaced deliberately only (ADR 44).
"""

import hashlib

from kpi_shared.keys import parse_key
from pydantic import SecretStr

from kpi_auth.settings.auth_settings import AuthSettings

# BLAKE2b's limit.
MAX_PURPOSE_BYTES = 16


class SecretKeys:
    """The current secret, the previous ones, and the keys of the tokens, which installations used before."""

    def __init__(self, settings: AuthSettings) -> None:
        own = [settings.auth_secret_key] if settings.auth_secret_key is not None else []
        former = [settings.paseto_secret_key, *settings.auth_previous_secret_keys, *settings.paseto_previous_keys]
        self._secrets = tuple(dict.fromkeys(_read(secret) for secret in (*own, *former)))

    def derive(self, purpose: bytes) -> tuple[bytes, ...]:
        """The purpose's keys: the first one makes new values, and what any of them made is accepted."""
        return tuple(hashlib.blake2b(key=key, person=purpose, digest_size=32).digest() for key in self._secrets)


def _read(secret: SecretStr) -> bytes:
    return parse_key(secret.get_secret_value())
