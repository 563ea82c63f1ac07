"""What a row works with: a server, a seed, and a folder for each platform that it starts."""

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kpi_drill.checker import Losses, check
from kpi_drill.database import Server
from kpi_drill.load import RATE, Load, run_load
from kpi_drill.platform import Platform, run_platform

# Beside other tests.
_SHORT_RATE = 20.0


@dataclass(frozen=True)
class Stage:
    """``short`` rows are those of the test suite: fewer rounds, and nothing that compares times."""

    server: Server
    folder: Path
    seed: int
    short: bool = False

    @asynccontextmanager
    async def platform(
        self,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        database_ports: Callable[[str], Sequence[int]] | None = None,
        server: Server | None = None,
    ) -> AsyncIterator[Platform]:
        folder = self.folder / f"platform-{time.monotonic_ns()}"
        async with run_platform(server or self.server, folder, settings, database_ports) as platform:
            yield platform

    @asynccontextmanager
    async def load(self, platform: Platform, *, rate: float = RATE) -> AsyncIterator[Load]:
        rate = min(rate, _SHORT_RATE) if self.short else rate
        async with run_load(platform.ports("gateway"), seed=self.seed, rate=rate, is_patient=self.short) as load:
            yield load

    async def check(self, load: Load, platform: Platform, server: Server | None = None) -> Losses:
        """Compare what the load has had acknowledged with what is stored, once everything is ready again.

        ``server`` is the one that has the data now, if not the platform's first.
        """
        for replica in platform.replicas.values():
            await replica.wait_until_ready()
        try:
            return await check(load, server or platform.server, platform.mails)
        finally:
            # The checker has opened connections of its own after the load.
            await load.close()


@contextmanager
def open_stage(*, seed: int, short: bool = False) -> Iterator[Stage]:
    """A stage with a server of its own, in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="kpi-drill-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # PostgreSQL runs as another user when the drill runs as root.
        folder.chmod(0o755)
        server = Server(folder / "home")
        try:
            server.create()
            yield Stage(server, folder, seed, short)
        finally:
            server.stop()
