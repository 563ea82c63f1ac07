"""For emergencies: a key that may be known to others is refused everywhere, at once and for ever."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from kpi_cli.errors import KPI, FailureError
from kpi_cli.token_keys.holders import Ask, take_census
from kpi_cli.token_keys.ring import Ring, State, now
from kpi_cli.token_keys.store import Store

# How long the killed key may still mint while the parts read its successor: without that, requests would fail.
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.5
# For auth to store that the key is killed, its start included.
_TELLING_SECONDS = 60.0


@dataclass(frozen=True)
class Killer:
    """One run. A second run for the same key repeats what the first could not do.

    With ``at_once``, the key is killed whether the parts know its successor or not.
    """

    store: Store
    ask: Ask
    expected: tuple[str, ...]
    report: Callable[[str], None]
    at_once: bool = False

    def run(self, beginning: str) -> str:
        """Kill the only key whose id begins so; return the id."""
        ring = self.store.read()
        kid = ring.find(beginning)
        if ring.active is not None and ring.active.kid == kid:
            self._replace_active(kid)
        self.store.update(lambda it: it.kill(kid, now()))
        self.report(f"{kid} is killed in the key ring: every part drops it when it reads that, within a second")
        self._tell_auth(kid)
        self.report("auth tells every part through the feed too: it is refused everywhere within 5 s, for ever")
        return kid

    def _tell_auth(self, kid: str) -> None:
        try:
            self.ask("keys", {"action": "kill", "kid": kid}, seconds=_TELLING_SECONDS)
        except FailureError as failure:
            problem = f"{kid} is killed in the key ring, but auth could not store it: {failure.sentence}"
            raise FailureError("keys", problem, fix=f"{KPI} keys kill {kid} again", code=failure.code) from failure

    def _replace_active(self, kid: str) -> None:
        """Activate another key, if there is time known by every part."""
        if not self.at_once:
            self.report(
                f"{kid} mints now and is NOT killed yet: that waits until every part has another key, "
                f"for {_PATIENCE_SECONDS:.0f} s at most (--now does not wait)"
            )
        ring = self.store.update(lambda it: it.announce(now()) if it.next is None else it)
        assert ring.next is not None  # noqa: S101 announced
        heir = ring.next.kid
        if missing := self._wait_for(heir):
            self.report(f"not waiting any longer for {missing}")
        self.store.update(lambda it: _succeed(it, heir))
        self.report(f"activated {heir} in place of the key that is killed")

    def _wait_for(self, kid: str) -> str:
        """What does not have the key after all; empty if everything has it."""
        end, missing = time.monotonic() + _PATIENCE_SECONDS, "the parts"
        while not self.at_once and (left := end - time.monotonic()) > 0:
            missing = self._find_missing(kid, left)
            if not missing:
                return ""
            time.sleep(min(_PAUSE_SECONDS, left))
        return missing

    def _find_missing(self, kid: str, seconds: float) -> str:
        try:
            return ", ".join(take_census(self.ask, self.expected, seconds=seconds).lacking(kid))
        except FailureError as failure:
            # The key has to be killed in its file, even when auth's database is down.
            return failure.sentence


def describe_stop(store: Store, beginning: str) -> FailureError:
    """What a run that was stopped by Ctrl-C has done to the key: that is never silent."""
    ring = store.read()
    kid = ring.find(beginning)
    if any(key.kid == kid for key in ring.in_state(State.KILLED)):
        sentence, fix = f"{kid} is killed in the key ring, but auth may not have stored it", f"{KPI} keys kill {kid}"
    else:
        sentence, fix = f"{kid} is NOT killed", f"{KPI} keys kill {kid} --now"
    return FailureError("keys", f"stopped: {sentence}", fix=fix, code=130)


def _succeed(ring: Ring, heir: str) -> Ring:
    return ring.activate(now()).end_rotation() if ring.next is not None and ring.next.kid == heir else ring
