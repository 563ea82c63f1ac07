"""The auth service as one application."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from kpi_shared.addresses import networks
from kpi_shared.app import build_service
from kpi_shared.cursors import CursorSealer
from kpi_shared.tokens import KeyRing

from kpi_auth import __version__
from kpi_auth.audit.endpoints import router as audit
from kpi_auth.housekeeping import housekeeping
from kpi_auth.mails.endpoints import router as mails
from kpi_auth.mails.outbox import Outbox
from kpi_auth.mails.worker import mail_worker
from kpi_auth.passwords.hasher import password_hasher
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
        routers=[sessions, sessions_of_users, users, mails, audit],
        resources=[request_tools, password_hasher, mail_worker, housekeeping],
    )


async def request_tools(app: FastAPI) -> AsyncIterator[None]:
    """What endpoints use and what needs no closing."""
    app.state.trusted_proxies = networks(app.state.settings.trusted_proxies)
    app.state.outbox = Outbox(app.state.settings)
    app.state.cursors = CursorSealer(KeyRing.of(app.state.settings))
    app.state.sessions = Sessions(app.state.settings, codec=app.state.tokens, outbox=app.state.outbox)
    app.state.session_check = check_session
    yield
