"""The application that servers import."""

from kpi_auth.app import create_app

app = create_app()
