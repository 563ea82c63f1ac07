"""The ASGI application that the server imports."""

from kpi_shared.server.runner import build_or_exit

from kpi_auth.app import create_app
from kpi_auth.settings import PART

app = build_or_exit(PART, create_app)
