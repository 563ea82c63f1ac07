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
    refused = _install() if os.geteuid() == 0 and shutil.which("apt-get") else ""
    if not find_library("sodium"):
        why = f"; apt-get could not install it: {refused}" if refused else ""
        raise FailureError("libsodium", f"the library is not on this machine, and tokens need it{why}", fix=fix())


def fix() -> str:
    """The command that brings libsodium to this machine."""
    if shutil.which("apt-get"):
        return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install {PACKAGE}"
    if shutil.which("brew"):
        return "brew install libsodium"
    return "install your system's libsodium package"


def _install() -> str:
    """Try to install it; the last line of apt-get's error, or an empty text when it went well."""
    print(f"kpi: libsodium is missing, installing {PACKAGE}", flush=True)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE]
    if not _error_of(install):
        return ""
    # A fresh image has no package lists yet.
    without_lists = _error_of(["apt-get", "update", "-qq"])
    refused = _error_of(install)
    return refused and (without_lists or refused)


def _error_of(command: list[str]) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
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
