"""Looks for the system's libsodium, which the token codec loads; as root, installs it with apt-get.

It runs as a program too (``python -m kpi_cli.stack.libsodium``): the Makefile calls it before the tests.
"""

import os
import shutil
import subprocess
import sys
from ctypes.util import find_library

from kpi_cli.errors import FailureError

PACKAGE = "libsodium23"


def ensure() -> None:
    """Return when libsodium is installed; otherwise raise FailureError with the command that installs it."""
    if find_library("sodium"):
        return
    problem = _install() if os.geteuid() == 0 and shutil.which("apt-get") else ""
    if not find_library("sodium"):
        why = f"; apt-get could not install it: {problem}" if problem else ""
        raise FailureError(
            "libsodium", f"the library is not installed, and tokens need it{why}", fix=installation_command()
        )


def installation_command() -> str:
    """The command that installs libsodium on this machine."""
    if shutil.which("apt-get"):
        return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install {PACKAGE}"
    if shutil.which("brew"):
        return "brew install libsodium"
    return "install your system's libsodium package"


def _install() -> str:
    """Try to install it; the last line of apt-get's error, or an empty text after success."""
    print(f"kpi: libsodium is missing, installing {PACKAGE}", flush=True)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE]
    if not _run(install):
        return ""
    # A new image has no package lists yet.
    update_error = _run(["apt-get", "update", "-qq"])
    install_error = _run(install)
    return install_error and (update_error or install_error)


def _run(command: list[str]) -> str:
    """Run a command; the last line of its error, or an empty text after success."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        command, check=False, capture_output=True, encoding="utf-8", errors="replace", env=environment
    )
    if result.returncode == 0:
        return ""
    return (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]


def main() -> int:
    """Run as a program."""
    try:
        ensure()
    except FailureError as failure:
        print("\n".join(failure.lines()), file=sys.stderr)
        return failure.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
