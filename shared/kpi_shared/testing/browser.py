"""Chromium for tests of pages; a test that uses it is marked ``browser`` and ``needs_browser``."""

import os
import shutil

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
# Without them Chromium needs a sandbox that root cannot have, and looks for servers of its maker at every start.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine; Debian's package of that name has one"
)
