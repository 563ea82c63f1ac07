"""``python -m kpi_gateway``."""

import sys

import kpi_shared.server.swift_start  # noqa: F401 before all that takes long to import
from kpi_shared.server.runner import main

from kpi_gateway.settings import PART, GatewaySettings

COMMANDS = {"openapi": "kpi_gateway.console:print_openapi", "routes": "kpi_gateway.console:print_routes"}

if __name__ == "__main__":
    sys.exit(main(PART, GatewaySettings, commands=COMMANDS))
