"""A key ring and the processes that read it, which tests of rotations and of killed keys share."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from kpi_cli.token_keys import files
from kpi_cli.token_keys.paserk import Purpose
from kpi_cli.token_keys.ring import Ring, State, dump, parse
from kpi_cli.token_keys.rotation import Plan, Rotator

TOKEN_SECONDS = 90
PARTS = ("auth", "content")


class House:
    """Processes that read the ring when the test says so; it also replaces the rotation's sleep."""

    def __init__(self, folder: Path, *instances: str) -> None:
        files.ensure(folder, Purpose.LOCAL)
        self.store = files.store_in(folder)
        self.known: dict[str, dict[str, str]] = {}
        self.slow: set[str] = set()
        self.said: list[str] = []
        self.killed: list[object] = []
        self.limits: list[float | None] = []
        self.slept = 0.0
        self.stop_after: int | None = None
        self.instances = instances
        self.read_again()

    def read_again(self) -> None:
        held = {key.kid: key.state.value for key in self.store.read().keys if key.text is not None}
        self.known |= {name: held for name in self.instances if name not in self.slow}

    def ask(self, command: str, request: Mapping[str, object], *, seconds: float | None = None) -> dict[str, Any]:
        assert command == "keys"
        self.limits.append(seconds)
        if request["action"] == "kill":
            self.killed.append(request["kid"])
            return {}
        listed = [{"part": name.partition("-")[0], "instance": name, "keys": keys} for name, keys in self.known.items()]
        return {"holders": listed, "killed": self.killed, "token_seconds": TOKEN_SECONDS}

    def sleep(self, seconds: float) -> None:
        """Time passes for the ring, since its times go back."""
        if self.stop_after is not None:
            self.stop_after -= 1
            if self.stop_after < 0:
                raise KeyboardInterrupt
        self.slept += seconds
        self.read_again()
        self.store.update(lambda ring: pass_time(ring, timedelta(seconds=seconds)))

    def rotate(self, **plan: Any) -> Ring:
        return Rotator(self.store, self.ask, Plan(PARTS, **plan), self.said.append, self.sleep).run()

    @property
    def states(self) -> list[State]:
        return [key.state for key in self.store.read().keys]


def pass_time(ring: Ring, time: timedelta) -> Ring:
    text = dump(ring)
    if ring.rotation is None or ring.rotation.retire_after is None:
        return ring
    after = ring.rotation.retire_after
    return parse(text.replace(f"{after:%Y-%m-%dT%H:%M:%SZ}", f"{after - time:%Y-%m-%dT%H:%M:%SZ}"), "here")
