"""What a run of the benchmark can be told, and where its files are."""

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
    """Rounds of all contenders in turn, and the seconds of one measurement in a round."""

    rounds: int = 5
    seconds: float = 4.0
    # Logs, sockets, data directories and made configurations of this run; it is new and empty at first.
    work: Path = REPOSITORY / ".kpi" / "bench"

    def log(self, name: str) -> Path:
        return self.work / f"{name}.log"
