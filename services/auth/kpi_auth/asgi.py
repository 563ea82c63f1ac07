"""The application that servers import."""

from kpi_shared.server.runner import built

from kpi_auth.app import create_app
from kpi_auth.settings import PART

app = built(PART, create_app)
