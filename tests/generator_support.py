"""A copy of this checkout in which code is generated, checked and run, as a new user would do it."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from kpi_shared.product import PRODUCT
from kpi_shared.testing.process import clean_environment, free_port

CHECKOUT = Path(__file__).parents[1]
PASSWORD = "bees-dance-in-circles"
_PATIENCE_SECONDS = 120.0


class Clone:
    """A checkout of its own, with its own virtual environment, stack and port."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._environment = clean_environment({"GATEWAY_PORT": str(free_port()), "NO_COLOR": "1"})
        # It hides the settings files of this checkout. Those of the clone are read.
        self._environment.pop("CONFIG_DIR", None)
        self._log = root.parent / "up.log"

    @classmethod
    def make(cls, root: Path) -> "Clone":
        """What git has of the checkout, changes that are not committed included, installed."""
        names = _run(["git", "ls-files", "-z"], CHECKOUT).split("\0")
        for name in filter(None, names):
            if (CHECKOUT / name).exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, root / name, follow_symlinks=False)
        # What a user's checkout has after its first minutes, so that nothing is downloaded or checked anew here.
        for name in (".kpi/tools", ".mypy_cache", ".ruff_cache"):
            if (CHECKOUT / name).is_dir():
                shutil.copytree(CHECKOUT / name, root / name, symlinks=True)
        _run(["git", "init", "-q"], root)
        clone = cls(root)
        clone.commit("Begin")
        clone.run("make", "-s", "install")
        return clone

    def commit(self, message: str) -> None:
        _run(["git", "add", "-A"], self.root)
        author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        _run(["git", *author, "commit", "-q", "-m", message], self.root)

    def run(self, *command: str) -> str:
        """The output of a command that succeeds."""
        return _run([*command], self.root, self._environment)

    def kpi(self, *arguments: str) -> str:
        return self.run(".venv/bin/kpi", *arguments)

    def check(self, service: str, *folders: str, is_whole: bool) -> None:
        """The tests in these folders, and ``make check``, whole or for what a resource of one service can break."""
        # A folder of its own: a second run closes the usual one to PostgreSQL, which runs as another user in the first.
        folder = f"--basetemp={self.root.parent / 'pytest'}"
        self.run(".venv/bin/pytest", "-q", "-p", "no:cacheprovider", folder, *folders)
        if is_whole:
            self.run("make", "-s", "check")
            return
        python = ".venv/bin/python"
        self.run(".venv/bin/ruff", "check")
        self.run(".venv/bin/ruff", "format", "--check")
        self.run(".venv/bin/mypy")
        self.run(python, "-m", "kpi_shared.testing.check_imports")
        self.run(python, "-m", "kpi_shared.testing.check_sql", f"services/{service}")
        self.kpi("openapi", "--check", "docs/openapi.json")
        self.run(python, "-m", "kpi_shared.testing.check_migrations", f"services/{service}")

    @contextmanager
    def running(self) -> Iterator[httpx.Client]:
        """Run its stack during the block; a client of its gateway."""
        with self._log.open("wb") as output:
            process = subprocess.Popen(
                [self.root / ".venv/bin/kpi", "up"], cwd=self.root, env=self._environment, stdout=output, stderr=output
            )
        try:
            self._wait(lambda: f"{PRODUCT} is up" in self._log.read_text(), process)
            address = json.loads(self.kpi("status", "-o", "json"))["gateway_url"]
            with httpx.Client(base_url=f"{address}/api/v1", timeout=30) as client:
                yield client
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)

    def _wait(self, is_so: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_so():
            assert process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)

    @property
    def changes(self) -> str:
        return self.run("git", "status", "--porcelain", "--untracked-files=all")


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment or clean_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-8000:]}{result.stderr[-8000:]}"
    return result.stdout


def sign_in(client: httpx.Client, username: str) -> dict[str, str]:
    """The header fields of an account that the seeder has made."""
    response = client.post("/auth/login", json={"username": username, "password": PASSWORD})
    assert response.status_code == 200, response.text
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


def wait_for_created(client: httpx.Client, path: str, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
    """Send the first request until the new noun responds: the parts start again with it."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            response = client.post(path, json=body, headers=headers)
        except httpx.TransportError:
            response = None
        if response is not None and response.status_code == 201:
            return response
        assert time.monotonic() < deadline, None if response is None else response.text
        time.sleep(0.1)
