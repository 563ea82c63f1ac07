"""Requests that are generated from the OpenAPI document of a service and sent to a real process."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def fuzz(
    address: str,
    *,
    token: str,
    folder: Path,
    examples: int = 25,
    excluded: Sequence[str] = (),
    excluded_paths: Sequence[str] = (),
) -> None:
    """Run schemathesis with all checks except ``excluded``; an AssertionError contains its report."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {token}", "--checks", "all", "--warnings", "off", "--no-color"]
    command += ["--max-examples", str(examples), "--continue-on-failure", "--generation-deterministic"]
    for path in excluded_paths:
        command += ["--exclude-path", path]
    if excluded:
        command += ["--exclude-checks", ",".join(excluded)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
