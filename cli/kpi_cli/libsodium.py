"""Looks for the system's libsodium, which the token codec loads; installs it where that is ours to do.

Runs as a program too (``python -m kpi_cli.libsodium``): the Makefile calls it before the tests.
"""

import os
import shutil
import subprocess
import sys
from ctypes.util import find_library

from kpi_cli.errors import FailureError

PACKAGE = "libsodium23"


def ensure() -> None:
    """Return when libsodium is there, raise FailureError with the mending command when it is not."""
    if find_library("sodium"):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
    if not find_library("sodium"):
        raise FailureError("libsodium", "the library is not on this machine, and tokens need it", fix=fix())


def fix() -> str:
    """The command that brings libsodium to this machine."""
    if shutil.which("apt-get"):
        return f"sudo apt-get install {PACKAGE}"
    if shutil.which("brew"):
        return "brew install libsodium"
    return "install your system's libsodium package"


def _install() -> None:
    print(f"kpi: libsodium is missing, installing {PACKAGE}", flush=True)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE]
    if not _quietly(install):
        # A fresh image has no package lists yet.
        _quietly(["apt-get", "update", "-qq"])
        _quietly(install)


def _quietly(command: list[str]) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, check=False, capture_output=True, env=environment).returncode == 0


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
