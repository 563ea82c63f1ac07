"""All parts as real processes, and the clients' requests that many tests share."""

import secrets
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from kpi_cli.parts import SERVICES
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import free_port, start_part

PASSWORD = "a quiet red bicycle"


@dataclass(frozen=True)
class Stack:
    """Addresses of a running platform; those of the services are unknown if only the gateway is published."""

    gateway: str
    services: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # Where mails are written; unknown if the stack runs in containers.
    mails: Path | None = None

    @property
    def auth(self) -> str | None:
        return self.services.get("auth")

    @property
    def content(self) -> str | None:
        return self.services.get("content")

    @property
    def upstreams(self) -> dict[str, str]:
        """The settings of a gateway in front of these services."""
        return {f"{name.upper()}_URL": address for name, address in self.services.items()}


def service_settings(worker: str, secret_key: str) -> dict[str, dict[str, str]]:
    """Each service's environment, with a new and migrated database."""
    found = {}
    for part in SERVICES:
        url = create_migrated_database(part.package, f"e2e_{part.name}_{worker}")
        found[part.name] = {"DATABASE_URL": url, "PASETO_SECRET_KEY": secret_key}
    return found


def feed_settings(settings: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """What gives the other services the feed of auth; settings of auth that name an internal port keep it."""
    auth, key = settings["auth"], secrets.token_hex(32)
    port = auth.get("INTERNAL_PORT") or str(free_port())
    listening = {"INTERNAL_KEY": secrets.token_hex(32), "LISTEN_DATABASE_URL": auth["DATABASE_URL"]}
    following = {"AUTH_INTERNAL_URL": f"http://127.0.0.1:{port}", "FEED_KEY": key}
    others = {
        name: {**following, "LISTEN_DATABASE_URL": own["DATABASE_URL"]}
        for name, own in settings.items()
        if name != "auth"
    }
    return {"auth": {"INTERNAL_PORT": port, "FEED_KEY": key, **listening}, **others}


@contextmanager
def run_stack(
    settings: Mapping[str, Mapping[str, str]], folder: Path, *, limits: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Run the services and the gateway; ``limits`` are settings of the gateway, whose limits are off without them."""
    with ExitStack() as stack:
        port = free_port()
        mails = {"MAIL_URL": (folder / "mails").as_uri(), "PUBLIC_URL": f"http://127.0.0.1:{port}"}
        files = {"FILES_URL": (folder / "files").as_uri()}
        feed = feed_settings(settings)
        services = {
            name: stack.enter_context(
                start_part(f"kpi_{name}", {**mails, **files, **feed[name], **own}, log=folder / f"{name}.log")
            )
            for name, own in settings.items()
        }
        # The tests register more users from one address in a minute than the limits allow.
        upstreams = Stack("", services).upstreams
        gateway_settings = {"RATE_LIMIT_ENABLED": "false", **upstreams, **(limits or {})}
        gateway = stack.enter_context(
            start_part("kpi_gateway", gateway_settings, log=folder / "gateway.log", port=port)
        )
        yield Stack(gateway, services, settings, folder / "mails")


@dataclass(frozen=True)
class Person:
    """A user who has registered and signed in."""

    id: int
    username: str
    email: str
    token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def join(client: httpx.Client, prefix: str = "/api/v1") -> Person:
    """Register under a new name and sign in."""
    username = f"u{uuid.uuid4().hex[:16]}"
    body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
    registered = client.post(f"{prefix}/users", json=body)
    assert registered.status_code == 201, registered.text
    signed_in = client.post(f"{prefix}/auth/login", data={"username": username, "password": PASSWORD})
    assert signed_in.status_code == 200, signed_in.text
    tokens = signed_in.json()
    return Person(registered.json()["id"], username, body["email"], tokens["access_token"], tokens["refresh_token"])
