"""The application object that a server imports."""

from kpi_shared.server.runner import build_or_exit

from kpi_content.app import create_app
from kpi_content.settings import PART

app = build_or_exit(PART, create_app)
