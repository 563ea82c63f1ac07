"""The program ``python -m kpi_content``."""

import sys

import kpi_shared.server.swift_start  # noqa: F401 before all that takes long to import
from kpi_shared.server.runner import main

from kpi_content.imports.command import check_posts, import_posts
from kpi_content.inbox.console import rebuild_inbox, show_inbox
from kpi_content.settings import PART, ContentSettings

COMMANDS = {
    "check-posts": check_posts,
    "import-posts": import_posts,
    "rebuild-inbox": rebuild_inbox,
    "show-inbox": show_inbox,
}

if __name__ == "__main__":
    sys.exit(main(PART, ContentSettings, commands=COMMANDS))
