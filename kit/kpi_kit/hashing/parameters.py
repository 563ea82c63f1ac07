"""The parameters of new hashes."""

from dataclasses import dataclass, replace

from kpi_kit.errors import UrlError
from kpi_kit.hashing.ceilings import Ceilings
from kpi_kit.urls import Url

# The least and the largest value of each number of the URL.
_BOUNDS = {
    "time_cost": (1, 100),
    "memory_kib": (8, 4 * 1024 * 1024),
    "parallelism": (1, 64),
    "workers": (1, 256),
    "waiting": (0, 10_000),
}


# RFC 9106, 3.1.
_LEAST_KIB_PER_LANE = 8


@dataclass(frozen=True)
class Parameters:
    """argon2id's. The defaults are the first recommendation of OWASP's Password Storage Cheat Sheet."""

    time_cost: int = 2
    memory_kib: int = 19456
    parallelism: int = 1

    def __post_init__(self) -> None:
        if self.memory_kib < _LEAST_KIB_PER_LANE * self.parallelism:
            raise UrlError(f"argon2id needs {_LEAST_KIB_PER_LANE} KiB of memory for each lane of its parallelism")

    def raise_ceilings(self, ceilings: Ceilings) -> Ceilings:
        """Ceilings that allow these parameters, too."""
        return replace(
            ceilings,
            memory_kib=max(ceilings.memory_kib, self.memory_kib),
            memory_kib_times_passes=max(ceilings.memory_kib_times_passes, self.memory_kib * self.time_cost),
            lanes=max(ceilings.lanes, self.parallelism),
        )


def read_numbers(url: Url) -> dict[str, int]:
    """The options of the URL; UrlError for one that is no number or out of bounds."""
    return {name: _read_number(name, text) for name, text in url.options.items()}


def _read_number(name: str, text: str) -> int:
    least, largest = _BOUNDS[name]
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(largest)) and least <= int(text) <= largest):
        raise UrlError(f"the option {name} of an argon2id:// URL is a number from {least} to {largest}")
    return int(text)
