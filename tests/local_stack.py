"""The local stack as an operator starts it, with the real parts."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kpi_cli import PRODUCT
from kpi_shared.testing.process import clean_environment, free_port

TIMEOUT_SECONDS = 120


class LocalStack:
    """A `kpi up` with its state in the test's own folder."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.environment = clean_environment({"KPI_HOME": str(home), "GATEWAY_PORT": str(free_port()), **settings})
        self._log = home.parent / "up.log"

    def kpi(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "kpi_cli", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=120)

    def start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as output:
            command = [sys.executable, "-m", "kpi_cli", "up"]
            process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while f"{PRODUCT} is up" not in self._log.read_text():
            assert process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)
        return process

    def wait_for(self, pattern: str) -> str:
        """Wait for a line of output that matches, and return it without colours."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            said = re.sub(r"\x1b\[[0-9;]*m", "", self._log.read_text())
            if found := re.search(f".*{pattern}.*", said):
                return found[0]
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    @contextmanager
    def running(self) -> Iterator["LocalStack"]:
        """Run it during the block; AssertionError if it does not end well."""
        process = self.start()
        try:
            yield self
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kpi("status", "-o", "json").stdout)
        return found
