"""The application that servers import."""

from kpi_shared.server.runner import build_or_exit

from kpi_gateway.app import create_app
from kpi_gateway.settings import PART

app = build_or_exit(PART, create_app)
