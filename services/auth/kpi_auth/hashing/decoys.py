"""What is verified where there is no account, so that the time does not disclose who has one.

An imported account has the hash of another system until its owner signs in, and bcrypt of cost 12 takes ten times as
long as argon2id here. If an unknown name always took the time of argon2id, a slow refusal would disclose an imported
account. So as large a share of the unknown names as of the accounts is verified against such a hash; which ones depends
on the name and a secret, so that a name is slow at each try, in each process. The share falls as owners sign in: names
turn from slow to fast, each once, as accounts do.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import NamedTuple, Self

from kpi_auth.settings import AuthSettings
from kpi_auth.settings.secret_keys import SecretKeys

_PURPOSE = b"kpi-decoys"
_DIGEST_BYTES = 8


class HashForm(NamedTuple):
    """A hash of another system or with other parameters, and the share of all hashes that cost as much as it does."""

    example: str
    share: float


class Decoys:
    """Chooses a stored hash for a login that has none. Only its cost matters: what matches it is refused as well."""

    def __init__(self, key: bytes, usual: str) -> None:
        self._key = key
        self._usual = usual
        self._forms: Sequence[HashForm] = ()

    @classmethod
    def of(cls, settings: AuthSettings, usual: str) -> Self:
        """With a secret that all replicas have; ``usual`` is a hash with the current parameters."""
        keys = SecretKeys(settings).derive(_PURPOSE)
        return cls(keys[0] if keys else secrets.token_bytes(32), usual)

    @property
    def usual_form(self) -> str:
        """How hashes with the current function and parameters begin."""
        return self._usual.rsplit("$", 2)[0] + "$"

    def use(self, forms: Sequence[HashForm]) -> None:
        """Choose among these from now on, and the usual hash for all other names."""
        self._forms = sorted(forms, key=lambda form: form.share, reverse=True)

    def choose(self, login: str | None) -> str:
        """The same hash for a name and the addresses that begin with it, as the shares are; the usual one for None."""
        if login is None:
            return self._usual
        place = self._find_place(login)
        for form in self._forms:
            place -= form.share
            if place < 0:
                return form.example
        return self._usual

    def _find_place(self, login: str) -> float:
        """A number from 0 to 1 that only the secret can tell."""
        # A person's name and address mostly have the same beginning; one that is slow and one that is fast would tell
        # that there is no account.
        name = login.lower().partition("@")[0]
        digest = hashlib.blake2b(name.encode("utf-8", "replace"), key=self._key, digest_size=_DIGEST_BYTES).digest()
        return int.from_bytes(digest, "big") / 256.0**_DIGEST_BYTES
