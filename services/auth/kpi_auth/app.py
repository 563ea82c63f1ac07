"""The auth service as one application."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from kpi_shared.addresses import parse_networks
from kpi_shared.app import build_service
from kpi_shared.cursors import CursorSealer
from kpi_shared.tokens import KeyRing

from kpi_auth import __version__
from kpi_auth.audit.endpoints import router as audit
from kpi_auth.codes.mailing import CodeMails
from kpi_auth.emails.endpoints import router as emails
from kpi_auth.housekeeping import housekeeping
from kpi_auth.identities.endpoints import router as identities
from kpi_auth.identities.verifier import foreign_tokens
from kpi_auth.mails.endpoints import router as mails
from kpi_auth.mails.outbox import Outbox
from kpi_auth.mails.worker import mail_worker
from kpi_auth.pages.endpoints import router as pages
from kpi_auth.passwords.endpoints import router as passwords
from kpi_auth.passwords.hasher import password_hasher
from kpi_auth.registrations.endpoints import router as registrations
from kpi_auth.sessions.endpoints import admin_router as sessions_of_users
from kpi_auth.sessions.endpoints import router as sessions
from kpi_auth.sessions.service import Sessions
from kpi_auth.sessions.standing import check_session
from kpi_auth.settings import AuthSettings
from kpi_auth.users.endpoints import router as users


def create_app(settings: AuthSettings | None = None) -> FastAPI:
    return build_service(
        settings or AuthSettings.load(),
        title="KPI-One auth",
        version=__version__,
        routers=[
            *(registrations, sessions, identities, sessions_of_users, passwords, emails),
            *(users, mails, audit, pages),
        ],
        resources=[request_tools, password_hasher, foreign_tokens, mail_worker, housekeeping],
    )


async def request_tools(app: FastAPI) -> AsyncIterator[None]:
    """What endpoints use and what needs no closing."""
    app.state.trusted_proxies = parse_networks(app.state.settings.trusted_proxies)
    app.state.outbox = Outbox(app.state.settings)
    app.state.cursors = CursorSealer(KeyRing.of(app.state.settings))
    app.state.code_mails = CodeMails(app.state.outbox, app.state.settings)
    app.state.sessions = Sessions(app.state.settings, codec=app.state.tokens, outbox=app.state.outbox)
    app.state.session_check = check_session
    yield
