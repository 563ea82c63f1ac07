"""The program ``python -m kpi_content``."""

import sys

import kpi_shared.server.swift_start  # noqa: F401 before all that takes long to import
from kpi_shared.server.runner import main

from kpi_content.settings import PART, ContentSettings

COMMANDS = {
    "check-posts": "kpi_content.imports.command:check_posts",
    "import-posts": "kpi_content.imports.command:import_posts",
    "rebuild-inbox": "kpi_content.inbox.console:rebuild_inbox",
    "show-inbox": "kpi_content.inbox.console:show_inbox",
}

if __name__ == "__main__":
    sys.exit(main(PART, ContentSettings, commands=COMMANDS))
