"""Two gateways, two auths and two contents as real processes, each of which can be killed, frozen and started again."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kpi_shared.testing.process import clean_environment, free_port

from kpi_drill.database import SERVICES, Server
from kpi_drill.http import Client, Reply, get

REPLICAS = ("auth1", "auth2", "content1", "content2", "gateway1", "gateway2")
_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
# Limits that would hide the faults are off or high. Passwords are hashed cheaply where a row does not measure that.
_SETTINGS = {
    "auth": {
        "ARGON2_MEMORY_KIB": "64",
        "ARGON2_TIME_COST": "1",
        "REGISTRATIONS_PER_ADDRESS": "100000",
        "MAILS_PER_ADDRESS": "10000",
        "FAILURES_PER_ADDRESS": "10000",
    },
    "content": {},
    # The load comes from one machine; each of its people has an address of their own in X-Forwarded-For.
    "gateway": {"RATE_LIMIT_ENABLED": "false", "TRUSTED_PROXIES": "127.0.0.0/8"},
}


@dataclass
class Replica:
    """One process of a part; its port stays the same when it is started again."""

    name: str
    settings: Mapping[str, str]
    log: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def part(self) -> str:
        return self.name.rstrip("12")

    async def start(self) -> None:
        command = (sys.executable, "-m", f"kpi_{self.part}", "--port", str(self.port))
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, env=clean_environment(self.settings), stdout=log, stderr=log
            )

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def pin(self, cores: Collection[int]) -> None:
        """With all its threads."""
        if self.process is not None:
            for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()

    async def stop(self) -> None:
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if self.process is None:
            return
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            await self.kill()

    async def readiness(self) -> Reply:
        client = Client([self.port], timeout=5)
        try:
            return await client.send(get("/health/ready"))
        finally:
            await client.close()

    async def wait_until_ready(self) -> float:
        """Return how many seconds it took."""
        began = time.monotonic()
        while (await self.readiness()).status != 200:
            if time.monotonic() - began > _READY_SECONDS or (self.process and self.process.returncode is not None):
                raise RuntimeError(f"{self.name} is not ready; its log ends:\n{self.log.read_text()[-2000:]}")
            await asyncio.sleep(0.05)
        return time.monotonic() - began


class Platform:
    """The six processes over one server; ``database_ports`` has the ports by which a replica reaches its database."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        settings: Mapping[str, Mapping[str, str]],
        database_ports: Callable[[str], Sequence[int]],
    ) -> None:
        self.server = server
        self.folder = folder
        self.mails = folder / "mails"
        self.mails.mkdir(parents=True)
        self._given = settings
        self._database_ports = database_ports
        self.replicas: dict[str, Replica] = {}
        # Where each replica of auth exchanges API keys and tells content what happened.
        self.internal_ports: dict[str, int] = {}
        for name in REPLICAS:
            if name.startswith("auth"):
                self.internal_ports[name] = self._free_port()
        for name in REPLICAS:
            self.replicas[name] = Replica(name, self._settings_of(name), folder / f"{name}.log", self._free_port())

    def __getitem__(self, name: str) -> Replica:
        return self.replicas[name]

    def _free_port(self) -> int:
        """A port that none of these processes has yet, started or not."""
        taken = {*self.internal_ports.values(), *(replica.port for replica in self.replicas.values())}
        while (port := free_port()) in taken:
            pass
        return port

    def ports(self, part: str) -> list[int]:
        return [replica.port for replica in self.replicas.values() if replica.part == part]

    def _settings_of(self, name: str) -> dict[str, str]:
        part = name.rstrip("12")
        own = {**_SETTINGS[part], "PASETO_SECRET_KEY": self.server.secret_key}
        if part == "gateway":
            own |= {
                f"{service.upper()}_URL": ",".join(f"http://127.0.0.1:{port}" for port in self.ports(service))
                for service in SERVICES
            }
        else:
            own["DATABASE_URL"] = self.server.url(part, f"drill_{part}", *self._database_ports(name))
        if part == "auth":
            own |= {"MAIL_URL": self.mails.as_uri(), "PUBLIC_URL": "http://127.0.0.1:8000"}
            own |= {"AUTH_SECRET_KEY": self.server.secret("auth_secret_key")}
        own |= self._internal_settings_of(name)
        return {**own, **self._given.get(part, {}), **self._given.get(name, {})}

    def _internal_settings_of(self, name: str) -> dict[str, str]:
        """The ports of auth for the other parts, and the keys of these."""
        part = name.rstrip("12")
        keys = {"auth": ("internal_key", "feed_key"), "content": ("feed_key",), "gateway": ("internal_key",)}[part]
        own = {key.upper(): self.server.secret(key) for key in keys}
        if part != "gateway":
            own["LISTEN_DATABASE_URL"] = self.server.url(part, f"drill_{part}", *self._database_ports(name))
        if part == "auth":
            return own | {"INTERNAL_PORT": str(self.internal_ports[name])}
        urls = (f"http://127.0.0.1:{port}" for port in self.internal_ports.values())
        return own | {"AUTH_INTERNAL_URL": ",".join(urls)}

    async def start(self) -> None:
        for service in SERVICES:
            await asyncio.to_thread(self.server.copy, service)
        for replica in self.replicas.values():
            await replica.start()
        for replica in self.replicas.values():
            await replica.wait_until_ready()

    async def stop(self) -> None:
        for name in reversed(REPLICAS):
            self.replicas[name].send(signal.SIGCONT)
        await asyncio.gather(*(self.replicas[name].stop() for name in reversed(REPLICAS)))


@asynccontextmanager
async def run_platform(
    server: Server,
    folder: Path,
    settings: Mapping[str, Mapping[str, str]] | None = None,
    database_ports: Callable[[str], Sequence[int]] | None = None,
) -> AsyncIterator[Platform]:
    """Run a platform on fresh databases during the block, once all of it is ready."""
    platform = Platform(server, folder, settings or {}, database_ports or (lambda _: (server.port,)))
    try:
        await platform.start()
        yield platform
    finally:
        await platform.stop()
