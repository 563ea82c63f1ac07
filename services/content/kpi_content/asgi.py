"""The application that servers import."""

from kpi_shared.server.runner import built

from kpi_content.app import create_app
from kpi_content.settings import PART

app = built(PART, create_app)
