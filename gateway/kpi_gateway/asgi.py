"""The application that servers import."""

from kpi_shared.server.runner import built

from kpi_gateway.app import create_app
from kpi_gateway.settings import PART

app = built(PART, create_app)
