"""For emergencies: a key that may be known to others is refused everywhere, at once and for ever."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from kpi_cli.errors import FailureError
from kpi_cli.token_keys.holders import Ask, take_census
from kpi_cli.token_keys.ring import Ring, now
from kpi_cli.token_keys.store import Store

# How long the killed key may still mint while the parts read its successor: without that, requests would fail.
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Killer:
    """One run. A second run for the same key repeats what the first could not do."""

    store: Store
    ask: Ask
    expected: tuple[str, ...]
    report: Callable[[str], None]

    def run(self, beginning: str) -> str:
        """Kill the only key whose id begins so; return the id."""
        ring = self.store.read()
        kid = ring.find(beginning)
        if ring.active is not None and ring.active.kid == kid:
            self._replace_active()
        self.store.update(lambda it: it.kill(kid, now()))
        self.report(f"{kid} is killed in the key ring: every part drops it when it reads that, within a second")
        self.ask("keys", {"action": "kill", "kid": kid})
        self.report("auth tells every part through the feed too: it is refused everywhere within 5 s, for ever")
        return kid

    def _replace_active(self) -> None:
        """Activate another key, if there is time known by every part."""
        ring = self.store.update(lambda it: it.announce(now()) if it.next is None else it)
        assert ring.next is not None  # noqa: S101 announced
        heir = ring.next.kid
        if missing := self._wait_for(heir):
            self.report(f"not waiting any longer for {missing}")
        self.store.update(lambda it: _succeed(it, heir))
        self.report(f"activated {heir} in place of the key that is killed")

    def _wait_for(self, kid: str) -> str:
        """What does not have the key after all; empty if everything has it."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while missing := self._find_missing(kid):
            if time.monotonic() > end:
                return missing
            time.sleep(_PAUSE_SECONDS)
        return ""

    def _find_missing(self, kid: str) -> str:
        try:
            return ", ".join(take_census(self.ask, self.expected).lacking(kid))
        except FailureError as failure:
            # The key has to be killed in its file, even when auth's database is down.
            return failure.sentence


def _succeed(ring: Ring, heir: str) -> Ring:
    return ring.activate(now()).end_rotation() if ring.next is not None and ring.next.kid == heir else ring
