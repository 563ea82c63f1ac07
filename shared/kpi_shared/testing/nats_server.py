"""A real NATS server with JetStream, which a test starts, kills and suspends."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kpi_shared.testing.process import free_port, wait_until


@dataclass
class Broker:
    """The server keeps its port and its files when it is started again."""

    folder: Path
    options: str = ""
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "nats.log"

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "nats.conf"
        store = self.folder / "store"
        config.write_text(f'listen: 127.0.0.1:{self.port}\njetstream {{ store_dir: "{store}" }}\n{self.options}\n')
        program = shutil.which("nats-server", path=str(Path(sys.executable).parent))
        assert program, "make install installs the server"
        before = self._count_starts()
        with self.log.open("ab") as output:
            self.process = process = subprocess.Popen([program, "-c", str(config)], stdout=output, stderr=output)
        wait_until(lambda: self._count_starts() > before or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()

    def _count_starts(self) -> int:
        return self.log.read_text().count("Server is ready") if self.log.exists() else 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Suspend the server during the block: connections stay, and nothing answers."""
        process = self.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            os.waitpid(process.pid, os.WUNTRACED)
            yield
        finally:
            # Nothing if it was killed meanwhile.
            process.send_signal(signal.SIGCONT)


@contextmanager
def run_broker(folder: Path, options: str = "") -> Iterator[Broker]:
    broker = Broker(folder, options)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
