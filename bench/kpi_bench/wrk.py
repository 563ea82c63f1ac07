"""Runs wrk at full speed, pinned to the load's core, and parses its output."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kpi_bench.processes import LOAD_CORE, BenchError, pin

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Load:
    """Results of wrk; times in milliseconds. ``errors`` are broken connections, timeouts and all but 2xx and 3xx."""

    rate: float
    p50: float
    p99: float
    requests: int
    errors: int


@dataclass(frozen=True)
class Wrk:
    """How to run wrk. ``script`` is a Lua file, and ``arguments`` are passed to its init()."""

    connections: int = 64
    threads: int = 1
    core: int | None = LOAD_CORE
    headers: Sequence[str] = ()
    script: Path | None = None
    arguments: Sequence[str] = ()

    def run(self, url: str, seconds: float) -> Load:
        command = ["wrk", "-t", str(self.threads), "-c", str(self.connections), "-d", f"{max(1, round(seconds))}s"]
        command += ["--latency", "--timeout", "10s"]
        command += [word for header in self.headers for word in ("-H", header)]
        command += ["-s", str(self.script)] if self.script else []
        command += [url, *(["--", *self.arguments] if self.arguments else [])]
        # wrk stops after whole seconds; the timeout ends a run that hangs.
        result = subprocess.run(
            pin(command, self.core), capture_output=True, text=True, check=False, timeout=seconds + 60
        )
        if result.returncode:
            raise BenchError(f"wrk {url}: {result.stdout}{result.stderr}")
        return parse(result.stdout)


def parse(text: str) -> Load:
    """Raises BenchError if the text is not the summary of a run."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    requests = re.search(r"(\d+) requests in", text)
    if rate is None or requests is None:
        raise BenchError(f"unexpected output of wrk: {text}")
    return Load(
        rate=float(rate[1]),
        p50=_percentile(text, 50),
        p99=_percentile(text, 99),
        requests=int(requests[1]),
        errors=_errors(text),
    )


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    if found is None:
        raise BenchError(f"the output of wrk has no percentile {percent}: {text}")
    return float(found[1]) * _UNITS[found[2]]


def _errors(text: str) -> int:
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    others = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return sum(int(number) for found in (broken, others) if found for number in found.groups())
