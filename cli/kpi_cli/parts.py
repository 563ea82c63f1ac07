"""The parts of the platform as data: what is run, with which settings, and where it answers.

Nothing here imports a part. Each is a program with the same command line, so a test can put a small one in
its place.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from kpi_cli.layout import Layout
from kpi_cli.ports import HOST, Ports
from kpi_cli.processes import MARK

SERVICES = ("auth", "content")
PARTS = (*SERVICES, "gateway")

# What the local stack decides itself: the same names in the caller's shell mean other databases and keys.
_DECIDED = (
    "DATABASE_URL",
    "PASETO_SECRET_KEY",
    "AUTH_URL",
    "CONTENT_URL",
    "AWS_SECRETS_ENABLED",
    "METRICS_PORT",
)


@dataclass(frozen=True)
class Program:
    """One part of a running stack."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def command(part: str, *arguments: str) -> tuple[str, ...]:
    """A part's command line."""
    return (sys.executable, "-m", f"kpi_{part}", *arguments)


def environment(layout: Layout, part: str, ports: Ports) -> dict[str, str]:
    """A part's settings in the local stack; secrets stand here as the names of their files only."""
    settings = {
        "APP_ENV": os.environ.get("APP_ENV", "development"),
        "LOG_FORMAT": os.environ.get("LOG_FORMAT", "console"),
        "AWS_SECRETS_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
        "METRICS_PORT": str(ports.metrics_of(part)),
        MARK: str(layout.home),
    }
    return {**_inherited(), **settings, **own_settings(layout, part, ports)}


def own_settings(layout: Layout, part: str, ports: Ports) -> dict[str, str]:
    """What a part needs to be one of this stack, and nothing of how it runs."""
    if part in SERVICES:
        own = {
            "DATABASE_URL_FILE": str(layout.secrets / f"{part}_database_url"),
            "PASETO_SECRET_KEY_FILE": str(layout.secrets / "paseto_secret_key"),
        }
        return {**own, **_mail_settings(layout, ports)} if part == "auth" else own
    return {
        "AUTH_URL": f"http://{HOST}:{ports.auth}",
        "CONTENT_URL": f"http://{HOST}:{ports.content}",
        # To count requests by whom their tokens are from; it makes none.
        "PASETO_SECRET_KEY_FILE": str(layout.secrets / "paseto_secret_key"),
    }


def _mail_settings(layout: Layout, ports: Ports) -> dict[str, str]:
    """Mails become files, and the links in them lead to this stack, unless the caller's shell says otherwise."""
    chosen = {"PUBLIC_URL": f"http://{HOST}:{ports.gateway}"}
    if not sends_mail():
        chosen["MAIL_URL"] = layout.mails.as_uri()
    return {name: value for name, value in chosen.items() if not os.environ.get(name)}


def sends_mail() -> bool:
    """Whether the caller's shell says where mail goes; an empty variable says nothing."""
    return any(os.environ.get(name) for name in ("MAIL_URL", "MAIL_URL_FILE"))


def names_database() -> bool:
    """Whether the caller's shell names a database; an empty variable names none."""
    return any(os.environ.get(name) for name in ("DATABASE_URL", "DATABASE_URL_FILE"))


def ignored() -> list[str]:
    """The variables of the caller's shell that people would expect to count, and that the local stack does not use."""
    names = [f"{name}{suffix}" for name in ("DATABASE_URL", "PASETO_SECRET_KEY") for suffix in ("", "_FILE")]
    return [name for name in (*names, "METRICS_PORT") if os.environ.get(name)]


def programs(layout: Layout, ports: Ports) -> dict[str, Program]:
    """The three parts of one stack by name."""
    chosen = {"auth": ports.auth, "content": ports.content, "gateway": ports.gateway}
    return {
        part: Program(
            name=part,
            command=command(part, "--host", HOST, "--port", str(port)),
            environment=environment(layout, part, ports),
            port=port,
        )
        for part, port in chosen.items()
    }


def _inherited() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.removesuffix("_FILE") not in _DECIDED and not name.startswith("PG")
    }
