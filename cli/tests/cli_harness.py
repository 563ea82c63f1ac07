"""Runs the real ``kpi`` command as a process, with stand-ins for the parts."""

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from kpi_cli import PRODUCT, parts
from kpi_cli.layout import Layout
from kpi_cli.stack import card, state
from kpi_shared.testing.process import free_port

_FAKES = Path(__file__).parent / "fakes"
PATIENCE_SECONDS = 60


@cache
def _make_stand_ins() -> "TemporaryDirectory[str]":
    """A folder with a stand-in for each part, as a package of the part's name; it is deleted at the end of the run."""
    folder = TemporaryDirectory(prefix="kpi-stand-ins-")
    for part in parts.PARTS:
        make_stand_in(Path(folder.name), part.name)
    return folder


def make_stand_in(folder: Path, name: str) -> None:
    """Make ``python -m kpi_NAME`` a stand-in for that part, for a PYTHONPATH with the folder."""
    package = folder / f"kpi_{name}"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(f'from fake_part import main\n\nmain("{name}")\n')


class Checkout:
    """A state folder with a gateway port of its own, and a folder of orders for the stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.orders = folder / "orders"
        self.settings: dict[str, str] = {"PYTHONPATH": f"{_FAKES}:{_make_stand_ins().name}"}
        self.orders.mkdir(exist_ok=True)
        self.home.mkdir(exist_ok=True)
        (self.home / "ports.json").write_text(json.dumps({"gateway": free_port()}))

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of a command, without any of the tests' own settings."""
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
        own = {"KPI_HOME": str(self.home), "FAKE_ORDERS": str(self.orders), **self.settings}
        return {**kept, **own, **settings}

    def kpi(
        self, *arguments: str, stdin: str = "", umask: int = -1, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; ``stdin`` is its standard input."""
        return subprocess.run(
            [sys.executable, "-m", "kpi_cli", *arguments],
            env=self.environment(**settings),
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            umask=umask,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def up(self, *arguments: str, **settings: str) -> "RunningStack":
        """Start ``kpi up`` and return at once."""
        return RunningStack(self, arguments, settings)

    def order(self, name: str) -> None:
        """Give an order to the stand-ins."""
        (self.orders / name).touch()

    def status(self) -> dict[str, str]:
        """What ``kpi status -o json`` prints, without the cost of a process."""
        layout = Layout(checkout=self.folder, home=self.home)
        return card.facts(layout, state.read(layout))

    def processes(self) -> list[psutil.Process]:
        """Every process of this checkout's stack, however it was started."""
        return [process for process in psutil.process_iter() if self._is_mine(process)]

    def get(self, path: str) -> bytes:
        """The response of its running gateway."""
        connection = http.client.HTTPConnection(self.status()["gateway_url"].removeprefix("http://"), timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            command = " ".join(process.cmdline())
            mark = process.environ().get("KPI_STACK")
        except psutil.Error:
            return False
        return mark == str(self.home) or f"-D {self.home}/postgres" in command


class RunningStack:
    """A ``kpi up`` whose output is read line by line."""

    def __init__(self, checkout: Checkout, arguments: tuple[str, ...], settings: dict[str, str]) -> None:
        self.checkout = checkout
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._errors = checkout.folder / "errors"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kpi_cli", "up", *arguments],
                env=checkout.environment(**settings),
                cwd=checkout.folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def wait_for(self, text: str) -> str:
        """The first new line that holds the text."""
        while (line := self._queue.get(timeout=PATIENCE_SECONDS)) is not None:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} was never printed:\n{self.output}\n{self.errors}")

    def wait_until_ready(self) -> "RunningStack":
        """Wait for the start card."""
        self.wait_for(f"{PRODUCT} is up")
        self.wait_for("Stop")
        return self

    def get(self, path: str) -> bytes:
        """The response of the gateway."""
        return self.checkout.get(path)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        while not self._queue.empty():
            line = self._queue.get()
            self.lines += [] if line is None else [line]
        return code

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def errors(self) -> str:
        return self._errors.read_text()
