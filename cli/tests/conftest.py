"""Checkouts for the command, each with a state folder of its own and stand-ins for the parts."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Test files are imported by their path, so the folder of a module that they share has to be on the path.
sys.path.insert(0, str(Path(__file__).parent))

from cli_harness import Checkout
from kpi_cli.stack import processes


def _make_folder() -> Path:
    # Not tmp_path: pytest closes its folder to other users, and PostgreSQL runs as one when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="kpi-cli-test-"))
    folder.chmod(0o755)
    return folder


def _end_processes(checkout: Checkout) -> None:
    processes.end_orphans(checkout.home)
    processes.end_postmaster(checkout.home / "postgres")


@pytest.fixture
def empty_checkout() -> Iterator[Checkout]:
    """A checkout on which no command has run yet."""
    checkout = Checkout(_make_folder())
    yield checkout
    _end_processes(checkout)
    shutil.rmtree(checkout.folder)


@pytest.fixture(scope="session")
def shared_checkout() -> Iterator[Checkout]:
    """A checkout with keys and migrated databases; making one takes longer than most tests."""
    checkout = Checkout(_make_folder())
    result = checkout.kpi("migrate")
    assert result.returncode == 0, result.stderr
    shutil.copytree(checkout.home, checkout.folder / "kept", ignore=shutil.ignore_patterns("postgres"))
    yield checkout
    shutil.rmtree(checkout.folder)


@pytest.fixture
def checkout(shared_checkout: Checkout) -> Iterator[Checkout]:
    """The shared checkout with its stack stopped, and everything but the data in its first state."""
    for entry in shared_checkout.home.iterdir():
        if entry.name != "postgres":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    shutil.copytree(shared_checkout.folder / "kept", shared_checkout.home, dirs_exist_ok=True)
    for order in shared_checkout.orders.iterdir():
        order.unlink()
    yield shared_checkout
    _end_processes(shared_checkout)


@pytest.fixture
def other_checkout(checkout: Checkout) -> Iterator[Checkout]:
    """A second checkout with a copy of the first one's state."""
    folder = _make_folder()
    subprocess.run(["cp", "-a", checkout.home, folder / "home"], check=True)
    other = Checkout(folder)
    yield other
    _end_processes(other)
    shutil.rmtree(folder)
