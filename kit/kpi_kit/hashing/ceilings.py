"""How costly a stored hash may be.

The cost of a verification stands in the stored hash, which may come from another system's export or from a row that was
changed in the database. ``$2b$31$`` takes days, and argon2 with ``m=4194304`` takes 4 GiB.
"""

from dataclasses import dataclass

from kpi_kit.hashing.errors import CostlyHashError


@dataclass(frozen=True)
class Ceilings:
    """The largest parameters that are verified. The defaults allow what systems use, and about a second of one core."""

    # argon2: the memory of one hash, that memory times the passes over it, and lanes, each of which is a thread.
    memory_kib: int = 256 * 1024
    memory_kib_times_passes: int = 1024 * 1024
    lanes: int = 16
    # 2**14 rounds.
    bcrypt_cost: int = 14
    pbkdf2_iterations: int = 2_000_000

    def check_argon2(self, *, memory_kib: int, passes: int, lanes: int) -> None:
        """CostlyHashError if one of them is above its ceiling; so do the other checks."""
        _check("argon2 memory", memory_kib, self.memory_kib, "KiB")
        _check("argon2 memory times passes", memory_kib * passes, self.memory_kib_times_passes, "KiB")
        _check("argon2 parallelism", lanes, self.lanes, "lanes")

    def check_bcrypt(self, *, cost: int) -> None:
        _check("bcrypt cost", cost, self.bcrypt_cost)

    def check_pbkdf2(self, *, iterations: int) -> None:
        _check("PBKDF2 cost", iterations, self.pbkdf2_iterations, "iterations")


def _check(what: str, value: int, most: int, unit: str = "") -> None:
    if value > most:
        raise CostlyHashError(f"the {what} of the hash is {value}, and at most {most} {unit}".rstrip() + " is verified")
