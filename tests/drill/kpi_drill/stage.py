"""What a row works with: a server, a seed, and a folder for each platform that it starts."""

import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kpi_drill.checker import Losses, check
from kpi_drill.database import Server
from kpi_drill.load import RATE, Load, run_load
from kpi_drill.platform import Platform, run_platform

# Beside other tests.
_SHORT_RATE = 20.0


@dataclass(frozen=True)
class Stage:
    """``short`` rows are those of the test suite: fewer rounds, and nothing that compares times.

    They share a platform, in one event loop, unless they need one of their own kind. No two platforms run at once: they
    have the same databases, and each would do the other's background work.
    """

    server: Server
    folder: Path
    seed: int
    short: bool = False
    _shared: list[Platform] = field(default_factory=list)
    _exits: AsyncExitStack = field(default_factory=AsyncExitStack)
    _loads: Iterator[int] = field(default_factory=itertools.count)

    @asynccontextmanager
    async def platform(
        self,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        database_ports: Callable[[str], Sequence[int]] | None = None,
        server: Server | None = None,
    ) -> AsyncIterator[Platform]:
        if self.short and settings is None and database_ports is None:
            yield await self._share_platform()
            return
        await self.close()
        async with run_platform(server or self.server, self._make_name(), settings, database_ports) as platform:
            yield platform

    def _make_name(self) -> Path:
        return self.folder / f"platform-{time.monotonic_ns()}"

    async def _share_platform(self) -> Platform:
        if not self._shared:
            self._shared.append(await self._exits.enter_async_context(run_platform(self.server, self._make_name())))
        return self._shared[0]

    async def close(self) -> None:
        """Stop the shared platform; the next row that needs one starts another."""
        self._shared.clear()
        await self._exits.aclose()

    @asynccontextmanager
    async def load(self, platform: Platform, *, rate: float = RATE) -> AsyncIterator[Load]:
        rate = min(rate, _SHORT_RATE) if self.short else rate
        # The names of the load's people depend on its seed.
        seed = self.seed + 1000 * next(self._loads)
        async with run_load(platform.ports("gateway"), seed=seed, rate=rate, is_patient=self.short) as load:
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
