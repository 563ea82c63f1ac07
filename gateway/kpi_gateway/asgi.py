"""The application that servers import."""

from kpi_gateway.app import create_app

app = create_app()
