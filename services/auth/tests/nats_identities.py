"""Keys and JWTs of NATS: an operator, its account and a user, as the tools of NATS make them."""

import base64
import binascii
import json
import time
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_OPERATOR, _ACCOUNT, _USER, _SEED = 14 << 3, 0, 20 << 3, 18 << 3
_LIMITS = {
    "subs": -1,
    "data": -1,
    "payload": -1,
    "imports": -1,
    "exports": -1,
    "wildcards": True,
    "conn": -1,
    "leaf": -1,
}
_JETSTREAM = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


class Identities(NamedTuple):
    """The options of a server, and the credentials files of two users; the server knows the key of the first only."""

    options: str
    credentials: str
    others: str


class _Key:
    """See https://github.com/nats-io/nkeys."""

    def __init__(self, prefix: int) -> None:
        self._prefix = prefix
        self._key = Ed25519PrivateKey.generate()

    @property
    def public(self) -> str:
        return _encode(bytes([self._prefix]) + self._key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        prefix = bytes([_SEED | self._prefix >> 5, (self._prefix & 31) << 3])
        return _encode(prefix + self._key.private_bytes_raw())

    def issue(self, subject: str, kind: str, **claims: object) -> str:
        body = {"jti": "x", "iat": int(time.time()), "iss": self.public, "sub": subject, "name": kind}
        body["nats"] = {"type": kind, "version": 2, **claims}
        signed = ".".join(map(_to_base64, ({"typ": "JWT", "alg": "ed25519-nkey"}, body)))
        signature = base64.urlsafe_b64encode(self._key.sign(signed.encode())).rstrip(b"=")
        return f"{signed}.{signature.decode()}"


def _encode(content: bytes) -> str:
    checked = content + binascii.crc_hqx(content, 0).to_bytes(2, "little")
    return base64.b32encode(checked).rstrip(b"=").decode()


def _to_base64(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def create_identities() -> Identities:
    operator, system, account, user = _Key(_OPERATOR), _Key(_ACCOUNT), _Key(_ACCOUNT), _Key(_USER)
    accounts = {
        system.public: operator.issue(system.public, "account", limits=_LIMITS),
        account.public: operator.issue(account.public, "account", limits=_LIMITS | _JETSTREAM),
    }
    options = (
        f"operator: {operator.issue(operator.public, 'operator')}\n"
        f"system_account: {system.public}\nresolver: MEMORY\nresolver_preload: {json.dumps(accounts)}"
    )
    jwt = account.issue(user.public, "user", subs=-1, data=-1, payload=-1)
    return Identities(options, _to_file(jwt, user.seed), _to_file(jwt, _Key(_USER).seed))


def _to_file(jwt: str, seed: str) -> str:
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
