"""A whole rotation: a new key is announced, activated when every part has it, and the old one is retired.

What is done is in the ring itself. So a run that ends at any moment is continued by the next one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from kpi_cli.errors import KPI, FailureError
from kpi_cli.token_keys.holders import Ask, Census, take_census
from kpi_cli.token_keys.ring import Ring, State, now
from kpi_cli.token_keys.store import Step, Store

Report = Callable[[str], None]
# Clocks that differ, and the time until a part has seen the change.
LEEWAY_SECONDS = 30
_SPEAK_SECONDS = 60.0


@dataclass(frozen=True)
class Plan:
    """How to rotate. ``wait``: seconds before the old key is retired; None: a token's life and the leeway.

    Without ``retire`` the old key stays for a later run, which retires what is due then. ``ignored`` are the names of
    instances that are not waited for, as patterns.
    """

    expected: tuple[str, ...]
    wait: int | None = None
    retire: bool = True
    ignored: tuple[str, ...] = ()


@dataclass
class Rotator:
    """One run. ``sleep`` is replaced by tests."""

    store: Store
    ask: Ask
    plan: Plan
    report: Report
    sleep: Callable[[float], None] = time.sleep
    _last: str = ""
    _silent: float = 0.0

    def run(self) -> Ring:
        """Rotate, or complete the rotation that is under way; return the ring at its end."""
        with self.store.hold_rotation():
            killed = self._take_census().killed
            said: list[str] = []
            ring = self.store.update(lambda it: self._begin(_write_killed(it, killed, said), said))
            # Only what is in the store is said.
            for sentence in said:
                self.report(sentence)
            kid = _kid(ring)
            while ring.is_rotating_to(kid):
                ring = self._advance(ring)
            if ring.active is None or ring.active.kid != kid:
                problem = f"another command has ended the rotation to {kid}"
                raise FailureError("keys", problem, fix=f"{KPI} keys status, and {KPI} keys rotate again")
            return ring

    def _begin(self, ring: Ring, said: list[str]) -> Ring:
        if ring.rotation is None:
            announced = ring.announce(now()) if ring.next is None else ring.resume(now())
            said.append(f"announced {_kid(announced)}: every part has to know it before any mints with it")
            return announced
        said.append(f"continuing the rotation to {ring.rotation.kid}")
        if ring.rotation.retire_after is not None and self.plan.wait is not None:
            ring = ring.set_wait(timedelta(seconds=self.plan.wait))
        if (left := ring.seconds_to_retire(now())) and self.plan.retire:
            said.append(f"the old key is retired in {left:.0f} s")
        return ring

    def _advance(self, ring: Ring) -> Ring:
        """The next step, or a pause before it is tried again."""
        if ring.next is not None:
            return self._activate(ring)
        rotation = ring.rotation
        if rotation is not None and rotation.retire_after is None:
            return self._confirm(ring)
        return self._retire(ring)

    def _activate(self, ring: Ring) -> Ring:
        kid = _kid(ring)
        if missing := self._take_census().lacking(kid):
            return self._wait_for(missing, "to have the key")
        ring = self.store.update(lambda it: it.activate(now()) if it.next is not None and it.next.kid == kid else it)
        if ring.active is not None and ring.active.kid == kid:
            self._say(f"every part has it; activated {kid}")
        return ring

    def _confirm(self, ring: Ring) -> Ring:
        kid, census = _kid(ring), self._take_census()
        if missing := census.not_using(kid):
            return self._wait_for(missing, "to mint with the key")
        wait = timedelta(seconds=self._wait_seconds(census))
        ring = self._update(kid, lambda it: it.confirm(now(), wait))
        if self.plan.retire or not ring.is_rotating_to(kid):
            self._say(f"every part mints with it; the old key is retired in {wait.total_seconds():.0f} s")
            return ring
        return self._leave(kid)

    def _retire(self, ring: Ring) -> Ring:
        left = ring.seconds_to_retire(now())
        if left > 0 and not self.plan.retire:
            return self._leave(_kid(ring))
        if left > 0:
            self._pause(min(left, self.store.pause_seconds), f"the old key is retired in {left:.0f} s")
            return self.store.read()
        old = [key.kid for key in ring.in_state(State.VERIFY_ONLY)]
        ring = self._update(_kid(ring), lambda it: it.retire(now(), older_than=timedelta(0)).end_rotation())
        if gone := [key.kid for key in ring.in_state(State.RETIRED) if key.kid in old]:
            self._say(f"retired {', '.join(gone)}")
        return ring

    def _leave(self, kid: str) -> Ring:
        """End the rotation without the keys that are due, and with the one that is not."""
        self._say("the old key still verifies; a later run retires it")
        return self._update(kid, lambda it: it.retire(now(), older_than=it.wait).end_rotation())

    def _update(self, kid: str, step: Step) -> Ring:
        """The step, unless another command has ended this rotation meanwhile."""
        return self.store.update(lambda it: step(it) if it.is_rotating_to(kid) else it)

    def _take_census(self) -> Census:
        return take_census(self.ask, self.plan.expected, ignored=self.plan.ignored)

    def _wait_seconds(self, census: Census) -> int:
        return census.token_seconds + LEEWAY_SECONDS if self.plan.wait is None else self.plan.wait

    def _wait_for(self, missing: list[str], what: str) -> Ring:
        sentence = f"waiting for {', '.join(missing)} {what}"
        self._say(sentence)
        self._pause(self.store.pause_seconds, f"still {sentence}")
        return self.store.read()

    def _pause(self, seconds: float, sentence: str) -> None:
        """Sleep; what is waited for is said every minute."""
        self.sleep(seconds)
        self._silent += seconds
        if self._silent >= _SPEAK_SECONDS:
            self.report(sentence)
            self._silent = 0.0

    def _say(self, sentence: str) -> None:
        """Each sentence once, however often its reason is looked at."""
        if sentence != self._last:
            self.report(sentence)
            self._silent = 0.0
        self._last = sentence


def _kid(ring: Ring) -> str:
    assert ring.rotation is not None  # noqa: S101 asked for during a rotation only
    return ring.rotation.kid


def _write_killed(ring: Ring, killed: frozenset[str], said: list[str]) -> Ring:
    """An old file that came back lists keys that no part uses any more."""
    # A store may try a step again.
    said.clear()
    for kid in ring.find_revived(killed):
        said.append(f"{kid} has been killed: the key ring says so again")
        ring = ring.kill(kid, now())
    return ring
