"""The auth service as one application."""

from collections.abc import AsyncIterator

import structlog
from fastapi import FastAPI
from kpi_shared.addresses import parse_networks
from kpi_shared.app import build_service
from kpi_shared.paging import cursor_sealer
from kpi_shared.product import PRODUCT

from kpi_auth import __version__
from kpi_auth.api_keys.endpoints import router as api_keys
from kpi_auth.audit.endpoints import router as audit
from kpi_auth.audit.worker import audit_chainer
from kpi_auth.bootstrap.announcer import bootstrap_codes
from kpi_auth.bootstrap.endpoints import router as bootstrap
from kpi_auth.context import install_tools
from kpi_auth.emails.endpoints import router as emails
from kpi_auth.events.worker import event_feed
from kpi_auth.hashing.hasher import password_hasher
from kpi_auth.housekeeping import housekeeping
from kpi_auth.identities.endpoints import router as identities
from kpi_auth.identities.endpoints import token_router as exchange
from kpi_auth.identities.schemas import SCHEMAS as EXCHANGE_SCHEMAS
from kpi_auth.identities.verification import external_verifier
from kpi_auth.internal import internal_port
from kpi_auth.mails.endpoints import router as mails
from kpi_auth.mails.worker import mail_worker
from kpi_auth.oauth.documents import add_schemas
from kpi_auth.outlets.nats_outlet import nats_outlet
from kpi_auth.pages.endpoints import router as pages
from kpi_auth.passwords.endpoints import router as passwords
from kpi_auth.recovery.endpoints import router as recovery
from kpi_auth.registrations.endpoints import router as registrations
from kpi_auth.sessions.documents import SCHEMAS as SESSION_SCHEMAS
from kpi_auth.sessions.endpoints import admin_router as sessions_of_users
from kpi_auth.sessions.endpoints import router as sessions
from kpi_auth.sessions.endpoints import token_router as tokens
from kpi_auth.sessions.session_check import check_session
from kpi_auth.sessions.worker import hash_forms
from kpi_auth.settings import NO_AUTH_SECRET_KEY, AuthSettings
from kpi_auth.token_keys.errors import install_key_handlers
from kpi_auth.token_keys.worker import check_minting, token_keys
from kpi_auth.users.endpoints import me_router as me
from kpi_auth.users.endpoints import router as users
from kpi_auth.webhooks.destinations import webhook_destinations
from kpi_auth.webhooks.endpoints import router as webhooks
from kpi_auth.webhooks.worker import webhook_worker

log = structlog.get_logger(__name__)

_TAGS = {
    "users": "Accounts: registration, reading, changes and deletion",
    "auth": "Signing in and out, tokens, passwords and e-mail addresses",
    "api-keys": "Keys for programs",
    "mails": "The outbox of mails (admins)",
    "webhooks": "Events sent to other systems (admins)",
    "audit": "The record of security events (admins)",
}


def create_app(settings: AuthSettings | None = None) -> FastAPI:
    app = build_service(
        settings or AuthSettings.load(),
        title=f"{PRODUCT} auth",
        version=__version__,
        routers=[
            # Routes are tried in this order, and tokens are asked for most often.
            *(tokens, bootstrap, registrations, me, sessions, identities, exchange, sessions_of_users),
            *(passwords, recovery, emails),
            *(users, api_keys, mails, webhooks, audit, pages),
        ],
        tags=_TAGS,
        checks={"token keys": check_minting},
        resources=[
            *(request_tools, cursor_sealer, password_hasher, external_verifier),
            *(mail_worker, audit_chainer, housekeeping, bootstrap_codes, event_feed, token_keys, internal_port),
            *(nats_outlet, webhook_destinations, webhook_worker, hash_forms),
        ],
    )
    install_key_handlers(app)
    add_schemas(app, SESSION_SCHEMAS | EXCHANGE_SCHEMAS)
    return app


async def request_tools(app: FastAPI) -> AsyncIterator[None]:
    """Store what endpoints use and what needs no closing."""
    app.state.trusted_proxies = parse_networks(app.state.settings.trusted_proxies)
    app.state.session_check = check_session
    if app.state.settings.auth_secret_key is None:
        log.warning(NO_AUTH_SECRET_KEY)
    install_tools(app)
    yield
