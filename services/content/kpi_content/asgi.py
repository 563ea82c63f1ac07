"""The application that servers import."""

from kpi_content.app import create_app

app = create_app()
