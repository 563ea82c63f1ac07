"""The keys of what lives longer than an access token: refresh tokens and other values that this service alone checks.

PASETO_SECRET_KEY is shared with the other parts and is replaced regularly; whatever depends on it ends with it. So each
purpose derives a key of its own from AUTH_SECRET_KEY, which is replaced deliberately only (ADR 39).
"""

from collections.abc import Iterable

from kpi_kit.crypt import derive_key
from kpi_shared.keys import parse_key
from pydantic import SecretStr

from kpi_auth.settings.auth_settings import AuthSettings


class SecretKeys:
    """The current secret, the previous ones, and the keys of the tokens, which installations used before."""

    def __init__(self, settings: AuthSettings) -> None:
        own = [settings.auth_secret_key] if settings.auth_secret_key is not None else []
        previous = settings.auth_previous_secret_keys
        # With a key ring in a file there may be no key of the tokens among the settings.
        tokens = [settings.paseto_secret_key] if settings.paseto_secret_key else []
        former = [*tokens, *previous, *settings.paseto_previous_keys]
        self._secrets = _read_all((*own, *former))
        self._own = _read_all((*own, *previous)) if own else self._secrets

    def derive(self, purpose: bytes) -> tuple[bytes, ...]:
        """The purpose's keys: the first one makes new values, and what any of them made is accepted."""
        return _derive(self._secrets, purpose)

    def derive_own(self, purpose: bytes) -> tuple[bytes, ...]:
        """The same for what no other part may be able to make: the keys of the tokens only without AUTH_SECRET_KEY."""
        return _derive(self._own, purpose)


def _derive(keys: Iterable[bytes], purpose: bytes) -> tuple[bytes, ...]:
    return tuple(derive_key(key, purpose=purpose) for key in keys)


def _read_all(secrets: Iterable[SecretStr]) -> tuple[bytes, ...]:
    """Each secret once."""
    return tuple(dict.fromkeys(parse_key(secret.get_secret_value()) for secret in secrets))
