"""Options of the benchmark, and the places of its files."""

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BENCH = REPOSITORY / "bench"
PEERS = BENCH / "peers"
RESULTS = BENCH / "results"
DOCUMENT = REPOSITORY / "docs" / "performance.md"
PLOTS = REPOSITORY / "docs" / "performance"


@dataclass(frozen=True)
class Options:
    """The number of rounds, and the seconds of one measurement in a round."""

    rounds: int = 5
    seconds: float = 4.0
    # Logs, sockets, data directories and generated configurations of this run; empty at the start.
    work: Path = REPOSITORY / ".kpi" / "bench"

    def log(self, name: str) -> Path:
        return self.work / f"{name}.log"
