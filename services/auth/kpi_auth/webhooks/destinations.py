"""Where events may be sent, and by what: the kit's destinations, with settings of auth and in words for admins."""

from collections.abc import AsyncIterator
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, Request
from kpi_kit.destinations import DestinationError, Destinations
from kpi_kit.posting import WebhookSender
from kpi_kit.resolver import Resolver, SystemResolver
from kpi_shared.addresses import parse_networks

from kpi_auth import __version__
from kpi_auth.settings import AuthSettings

# For an attempt, the look-up of the host included.
_SEND_SECONDS = 10.0
_MAX_REASON = 300


def build_destinations(settings: AuthSettings, resolve: Resolver) -> Destinations:
    schemes = {"https", "http"} if settings.allows_http_webhooks else {"https"}
    allowed = parse_networks(settings.webhook_allowed_networks)
    return Destinations(resolve, schemes=frozenset(schemes), allowed=allowed)


def build_sender(destinations: Destinations, *, seconds: float = _SEND_SECONDS) -> WebhookSender:
    return WebhookSender(destinations, seconds=seconds, user_agent=f"KPI-One-Webhooks/{__version__}")


def describe(error: DestinationError) -> str:
    """A sentence for the admin who has written the URL."""
    text = str(error)
    words = "".join(character if character.isprintable() else " " for character in text[:1].upper() + text[1:])
    return words[:_MAX_REASON]


def get_receiver(text: str) -> str:
    """The scheme, host and port of a URL that was checked: what logs may have of it, since the rest may be a secret."""
    url = httpx.URL(text)
    return f"{url.scheme}://{url.netloc.decode()}"


async def webhook_destinations(app: FastAPI) -> AsyncIterator[None]:
    """The resource behind ``DestinationsOfApp``."""
    resolver = SystemResolver()
    app.state.webhook_destinations = build_destinations(app.state.settings, resolver)
    yield
    resolver.close()


async def _destinations(request: Request) -> Destinations:
    found: Destinations = request.app.state.webhook_destinations
    return found


DestinationsOfApp = Annotated[Destinations, Depends(_destinations)]
