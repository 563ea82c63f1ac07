"""Stored responses, encrypted: some contain a secret, and all that is deleted within a day would be in them.

The key comes from the client's Idempotency-Key, which is not stored, and from a secret of the service where it has a
lasting one. What the client requested is authenticated with it, so that the response opens for the same request only.
No hash of the request is stored: it may contain a password, which could be guessed from a fast hash.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request, Response
from kpi_kit.crypt import derive_key

from kpi_shared.idempotency.errors import KeyReusedError
from kpi_shared.tokens import InvalidTokenError, open_sealed, seal

_KEPT_HEADERS = ("content-type", "location", "etag", "cache-control")
_PURPOSE = b"kpi-once-seal"
_KEY_BYTES = 32
REPLAYED = "Idempotency-Replayed"
# Of base64url: a response that repeats the longest body of a request.
_LONGEST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ResponseSeal:
    """Seals and opens the response to one request. ``keys`` are those of the service's secrets, the newest first."""

    keys: tuple[bytes, ...]
    fingerprint: bytes

    def seal(self, response: Response) -> str:
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        head = json.dumps([response.status_code, headers]).encode()
        return seal(head + b"\n" + bytes(response.body), key=self.keys[0], implicit=self.fingerprint)

    def open(self, sealed: str) -> Response:
        """The stored response, marked as replayed; KeyReusedError if it was to another request."""
        for key in self.keys:
            try:
                payload = open_sealed(sealed, key=key, implicit=self.fingerprint, longest=_LONGEST)
            except InvalidTokenError:
                continue
            head, _, body = payload.partition(b"\n")
            status, headers = json.loads(head)
            return Response(body, status, {**headers, REPLAYED: "true"})
        raise KeyReusedError


def derive_keys(key: str, secrets: Sequence[bytes]) -> tuple[bytes, ...]:
    if not secrets:
        # An installation whose keys are all public: the client's own key, which is not stored, is the secret then.
        return (hashlib.blake2b(key.encode(), person=_PURPOSE, digest_size=_KEY_BYTES).digest(),)
    return tuple(derive_key(secret, purpose=_PURPOSE, context=key.encode()) for secret in secrets)


def fingerprint(request: Request, body: bytes) -> bytes:
    """What identifies the request beside its key: method, path, query and body."""
    scope = request.scope
    head = json.dumps([scope["method"], scope["path"], scope["query_string"].decode("latin-1")])
    digest = hashlib.blake2b(head.encode(), digest_size=32, person=b"kpi-once-request")
    digest.update(b"\n" + body)
    return digest.digest()
