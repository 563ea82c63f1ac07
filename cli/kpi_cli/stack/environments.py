"""The settings that the local stack gives to each part, and what it takes over from the caller's shell."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kpi_cli.layout import Layout
from kpi_cli.parts import PARTS, SERVICES, Part
from kpi_cli.stack import found_keys
from kpi_cli.stack.ports import HOST, Ports
from kpi_cli.stack.processes import MARK
from kpi_cli.token_keys import files as token_files

MAIL_URL = "MAIL_URL"
FILES_URL = "FILES_URL"
MAIL_SENDER = next(part for part in PARTS if part.sends_mail)

# The local stack sets these itself: in the caller's shell the same names mean other databases and keys.
_SET_BY_STACK = (
    "DATABASE_URL",
    "PASETO_SECRET_KEY",
    "PASETO_PREVIOUS_KEYS",
    "PASETO_KEYS",
    "TOKEN_PURPOSE",
    "AUTH_SECRET_KEY",
    "AUTH_PREVIOUS_SECRET_KEYS",
    *(service.url_variable for service in SERVICES),
    *(service.internal_url_variable for service in SERVICES),
    "INTERNAL_KEY",
    "INTERNAL_PORT",
    "FEED_KEY",
    "FEED_PREVIOUS_KEYS",
    "LISTEN_DATABASE_URL",
    "AWS_SECRETS_ENABLED",
    "METRICS_PORT",
)


@dataclass(frozen=True)
class Program:
    """One part of a running stack."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


def programs(layout: Layout, ports: Ports) -> dict[str, Program]:
    """All parts of one stack by name."""
    return {
        part.name: Program(
            command=part.command("--host", HOST, "--port", str(ports.of(part))),
            environment=environment(layout, part, ports),
        )
        for part in PARTS
    }


def environment(layout: Layout, part: Part, ports: Ports) -> dict[str, str]:
    """All settings of a part in the local stack; a secret is given as the name of its file."""
    settings = {
        "APP_ENV": os.environ.get("APP_ENV", "development"),
        "LOG_FORMAT": os.environ.get("LOG_FORMAT", "console"),
        "AWS_SECRETS_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
        "METRICS_PORT": str(ports.metrics_of(part)),
        MARK: str(layout.home),
    }
    return {**_inherited_variables(), **settings, **own_settings(layout, part, ports)}


def own_settings(layout: Layout, part: Part, ports: Ports) -> dict[str, str]:
    """What connects a part to this stack, without the settings of how it runs."""
    settings: dict[str, str] = {}
    if part.has_database:
        # The stack has no pooler, so the address for LISTEN is the same.
        address = str(layout.secrets / f"{part.name}_database_url")
        settings |= {"DATABASE_URL_FILE": address, "LISTEN_DATABASE_URL_FILE": address}
        if not _is_set(FILES_URL) and not found_keys.find_settings(layout, part, FILES_URL):
            settings[FILES_URL] = layout.files.as_uri()
    if part.is_gateway:
        settings |= {service.url_variable: f"http://{HOST}:{ports.of(service)}" for service in SERVICES}
    if part.needs_token_key:
        name = token_files.RING if part.mints_tokens else token_files.VERIFIERS
        settings["PASETO_KEYS_FILE"] = str(layout.secrets / name)
        settings["TOKEN_PURPOSE"] = token_files.purpose_in(layout.secrets)
    if part.needs_auth_key:
        settings["AUTH_SECRET_KEY_FILE"] = str(layout.secrets / "auth_secret_key")
        settings["AUTH_PREVIOUS_SECRET_KEYS_FILE"] = str(layout.secrets / "auth_previous_secret_keys")
        former = layout.secrets / token_files.FORMER_FOR_SESSIONS
        # A stack that another version has started has no such file yet.
        settings |= {"PASETO_PREVIOUS_KEYS_FILE": str(former)} if former.exists() else {}
    settings |= _internal_settings(layout, part, ports)
    return settings | _mail_settings(layout, ports) if part.sends_mail else settings


def _internal_settings(layout: Layout, part: Part, ports: Ports) -> dict[str, str]:
    """Auth's port for the other parts: the gateway exchanges API keys there, and content reads auth's events."""
    serving = [service for service in SERVICES if service.has_internal_port and ports.internal_of(service)]
    settings = {}
    if part.has_internal_port:
        settings["INTERNAL_PORT"] = str(ports.internal_of(part))
        settings["BOOTSTRAP_FROM_LOOPBACK"] = "true"
    if part.is_gateway or part.follows_events:
        settings |= {it.internal_url_variable: f"http://{HOST}:{ports.internal_of(it)}" for it in serving}
    if serving and (part.is_gateway or part.has_internal_port):
        settings["INTERNAL_KEY_FILE"] = str(layout.secrets / "internal_key")
    if serving and (part.follows_events or part.has_internal_port):
        settings["FEED_KEY_FILE"] = str(layout.secrets / "feed_key")
    if serving and part.has_internal_port:
        settings["FEED_PREVIOUS_KEYS_FILE"] = str(layout.secrets / "feed_previous_keys")
    return settings


def _mail_settings(layout: Layout, ports: Ports) -> dict[str, str]:
    """E-mails are written to files, and their links lead to this stack, unless the operator sets otherwise.

    A variable takes precedence over auth's own settings file, so where that names a mail server, none is given.
    """
    settings = {"PUBLIC_URL": f"http://{HOST}:{ports.gateway}"}
    if not _is_set(MAIL_URL) and not found_keys.find_settings(layout, MAIL_SENDER, MAIL_URL):
        settings[MAIL_URL] = layout.mails.as_uri()
    return {name: value for name, value in settings.items() if not os.environ.get(name)}


def describe_mail(layout: Layout) -> str:
    """Where auth sends e-mails, in words for people, without a name and password that the address may hold."""
    url, source = _effective_mail_url(layout)
    target = urlsplit(url)
    if not target.scheme:
        return source.strip()
    if target.scheme == "file":
        folder = Path(unquote(target.path))
        return f"{layout.shorten(folder)}/ (sent instead when MAIL_URL is set)" if not source else f"{folder}/{source}"
    try:
        port = f":{target.port}" if target.port else ""
    except ValueError:
        # Auth refuses such an address with a sentence of its own.
        port = ""
    return f"{target.scheme}://{target.hostname or ''}{port}{source}"


def _effective_mail_url(layout: Layout) -> tuple[str, str]:
    """The address that auth uses, and where it is set; the second is empty for the stack's own folder."""
    if url := os.environ.get(MAIL_URL):
        return url, f" ({MAIL_URL} in the shell)"
    if file := os.environ.get(f"{MAIL_URL}_FILE"):
        try:
            return Path(file).read_text(encoding="utf-8").strip(), f" ({MAIL_URL}_FILE in the shell)"
        except (OSError, ValueError):
            return "", f"{file} ({MAIL_URL}_FILE in the shell)"
    for path, url in found_keys.find_settings(layout, MAIL_SENDER, MAIL_URL):
        return url, f" ({layout.shorten(path)})"
    return layout.mails.as_uri(), ""


def names_database() -> bool:
    """Whether the caller's shell names a database."""
    return _is_set("DATABASE_URL")


def _is_set(name: str) -> bool:
    """Whether the shell sets a variable or names its file; an empty variable is not set."""
    return any(os.environ.get(each) for each in (name, f"{name}_FILE"))


def ignored_variables() -> list[str]:
    """The variables of the caller's shell that an operator could expect to have an effect, and that have none."""
    secret = ("DATABASE_URL", "PASETO_KEYS", *found_keys.NAMES)
    names = [f"{name}{suffix}" for name in secret for suffix in ("", "_FILE")]
    return [name for name in (*names, "METRICS_PORT") if os.environ.get(name)]


def _inherited_variables() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.removesuffix("_FILE") not in _SET_BY_STACK and not name.startswith("PG")
    }
