"""External identity providers for tests: a real JWKS server on loopback, keys, and tokens of every kind."""

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from kpi_auth.identities.verification import external_verifier
from kpi_auth.settings.providers import IdentityProvider
from pydantic import SecretStr

AUDIENCE = "kpi-one-tests"
SECRET = "of these forty characters none is a secret"


@dataclass(frozen=True)
class SigningKey:
    kid: str
    algorithm: str
    private: Any

    @property
    def public(self) -> dict[str, Any]:
        """Its entry in a key set."""
        form = {"RS": RSAAlgorithm, "PS": RSAAlgorithm, "ES": ECAlgorithm, "Ed": OKPAlgorithm}[self.algorithm[:2]]
        entry: dict[str, Any] = form.to_jwk(self.private.public_key(), as_dict=True)  # type: ignore[attr-defined]
        entry.pop("key_ops", None)
        return {**entry, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    @property
    def public_pem(self) -> bytes:
        pem: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem


@cache
def signing_key(algorithm: str, kid: str = "") -> SigningKey:
    curves = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
    private: Any
    if algorithm in curves:
        private = ec.generate_private_key(curves[algorithm]())
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(65537, 2048)
    return SigningKey(kid or algorithm, algorithm, private)


def claims(issuer: str, subject: str = "someone", **changes: object) -> dict[str, Any]:
    """The claims of a good token; a change to None leaves one out."""
    now = int(time.time())
    given = {"iss": issuer, "sub": subject, "aud": AUDIENCE, "iat": now, "exp": now + 300, **changes}
    return {name: value for name, value in given.items() if value is not None}


def token(key: SigningKey, payload: dict[str, Any], **header: object) -> str:
    return jwt.encode(payload, key.private, key.algorithm, headers={"kid": key.kid, **header})


class KeyServer:
    """Serves ``keys``, or ``body`` with ``status``, and counts requests. While ``held``, it does not respond."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.body: bytes | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.fetches = 0
        self.asked = threading.Event()
        self.responses = threading.Event()
        self.responses.set()
        self._server = self._bind(0)
        self._port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/auth/v1/.well-known/jwks.json"

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._port}/auth/v1"

    def make_body(self) -> bytes:
        return self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()

    def stop(self) -> None:
        self.responses.set()
        self._server.shutdown()
        self._server.server_close()

    def start(self) -> None:
        """Start again at the same address."""
        self._server = self._bind(self._port)

    def _bind(self, port: int) -> ThreadingHTTPServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.fetches += 1
                outer.asked.set()
                outer.responses.wait(timeout=30)
                body = outer.make_body()
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except ConnectionError:
                    # The client has closed the connection.
                    return

            def log_message(self, *_arguments: object) -> None:
                """Log nothing to the console."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server


@contextmanager
def key_server(*keys: SigningKey) -> Iterator[KeyServer]:
    server = KeyServer()
    server.keys = [key.public for key in keys]
    try:
        yield server
    finally:
        server.stop()


def provider_of(server: KeyServer, *algorithms: str, **more: Any) -> IdentityProvider:
    given = {"name": "tests", "issuer": server.issuer, "audience": AUDIENCE, "jwks_url": server.url}
    return IdentityProvider.model_validate({**given, "algorithms": algorithms or ("RS256",), **more})


def shared_secret_provider(issuer: str = "https://id.example.com", **more: Any) -> IdentityProvider:
    given = {"name": "shared", "issuer": issuer, "audience": AUDIENCE, "secret": SecretStr(SECRET)}
    return IdentityProvider.model_validate({**given, "algorithms": ("HS256",), **more})


KEY = signing_key("ES256")
SHARED = shared_secret_provider()
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"


@asynccontextmanager
async def use_providers(app: FastAPI, *providers: IdentityProvider, **settings: object) -> AsyncIterator[None]:
    """Run the application with these providers; its settings and verifier are restored afterwards."""
    state = app.state
    before = state.settings, state.verifier
    state.settings = state.settings.model_copy(update={"identity_providers": providers, **settings})
    try:
        async with asynccontextmanager(external_verifier)(app):
            yield
    finally:
        state.settings, state.verifier = before


def supabase(server: KeyServer) -> IdentityProvider:
    given = {"name": "supabase", "issuer": server.issuer, "audience": "authenticated", "jwks_url": server.url}
    return IdentityProvider.model_validate({**given, "algorithms": ("ES256",)})


def shared_token(subject: str = "someone", **more: object) -> str:
    return jwt.encode(claims(SHARED.issuer, subject, **more), SECRET, "HS256")


def supabase_token(server: KeyServer, subject: str = "2f0d", **more: object) -> str:
    return token(KEY, claims(server.issuer, subject, aud="authenticated", role="authenticated", **more))


async def exchange(client: httpx.AsyncClient, subject_token: str, **more: Any) -> httpx.Response:
    form = {"grant_type": GRANT, "subject_token": subject_token, "subject_token_type": f"{TYPE}jwt", **more}
    return await client.post("/auth/exchange", data={name: value for name, value in form.items() if value is not None})


async def me_of(client: httpx.AsyncClient, response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    shown = await client.get("/auth/me", headers={"Authorization": f"Bearer {response.json()['access_token']}"})
    assert shown.status_code == 200
    found: dict[str, Any] = shown.json()
    return found
