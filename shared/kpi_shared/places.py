"""Places for costly work, shared fairly: the next one goes to the source that has used least of them lately.

A source is an address, an account or whatever else the caller names; a request may have several, and then all of them
count. asyncio.Semaphore, aiolimiter and the pools of drivers were looked at: their queues are first come, first served,
so that one source with many requests keeps everyone else out (2026-11-27).
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Self

import structlog

from kpi_shared.errors import ProblemError
from kpi_shared.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

Sources = tuple[Hashable, ...]

# In these seconds, what a source has used fades to a third.
_FADING = 90.0
# Sources that are remembered; beyond it, the one that has been quiet for longest is forgotten.
_REMEMBERED = 10_000
# The weight of the newest turn in the average duration.
_NEWEST = 1 / 16
_SHORTEST = 0.000_1
_LOG_SECONDS = 1.0
# A request that has waited for longer is displaced only by one that has used much less.
_NEW_SECONDS = 0.03


class Usage:
    """The seconds that each source has used lately."""

    def __init__(self, *, most: int = _REMEMBERED) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def of(self, source: Hashable, now: float) -> float:
        seconds, moment = self._known.get(source, (0.0, now))
        return seconds * math.exp((moment - now) / _FADING)

    def add(self, source: Hashable, seconds: float, now: float) -> None:
        self._known[source] = (max(0.0, self.of(source, now) + seconds), now)
        self._known.move_to_end(source)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


class Turn:
    """A place that was given; what it took is charged to its sources when it is given back."""

    __slots__ = ("_began", "_places", "_seconds", "_sources")

    def __init__(self, places: "Places", sources: Sources) -> None:
        self._places = places
        self._sources = sources
        self._began = monotonic()
        self._seconds: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Make the place free for the next request; a second call does nothing."""
        if self._seconds is None:
            self._seconds = monotonic() - self._began
            self._places._take_back(self._sources, self._seconds)  # noqa: SLF001 the two are one

    def forgive(self) -> None:
        """Charge nothing for a turn that was given back, since it turned out to be welcome."""
        if self._seconds is not None:
            self._places._charge(self._sources, -self._seconds)  # noqa: SLF001 as above
            self._seconds = 0.0


class _Waiter:
    """A request that waits. Its rank is that of its arrival: the least is served first, the greatest refused first.

    ``turn`` orders those that wait: a rank is worth ``head_start`` seconds, so that those of a similar rank cannot keep
    a request waiting in vain.
    """

    __slots__ = ("future", "rank", "since", "sources", "turn")

    def __init__(self, sources: Sources, rank: int, head_start: float) -> None:
        self.sources = sources
        self.rank = rank
        self.since = monotonic()
        self.turn = self.since + rank * head_start
        self.future: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()


def _rank_of(waiter: _Waiter) -> int:
    return waiter.rank


def _turn_of(waiter: _Waiter) -> float:
    return waiter.turn


class Places:
    """``total`` places, and a queue for ``waiting`` requests, in which each waits for ``patience`` seconds at most.

    The queue is shorter while turns take so long that its end would not be reached in time: a request that would wait
    in vain is refused at once. When it is full, the request of the source that uses most is refused, be it the new one
    or one that waits. Uses are compared by their magnitude, so that among similar sources the first to come is the
    first to be served. ``usual`` is the expected duration of a turn in seconds, until turns have been measured.

    While requests wait, a place rests after each turn for ``rest`` times as long as the turn took: the processor that
    turns keep busy is then free for others part of the time.
    """

    # By how much of the patience a request precedes one that has used twice as much and came at the same time.
    _head_start = 0.5
    # One that is not new is displaced only by one that has used less by more than this, in ranks.
    _similar = 1

    def __init__(
        self,
        total: int,
        *,
        waiting: int,
        patience: float,
        usual: float,
        refusal: Callable[[], ProblemError],
        rest: float = 0.0,
    ) -> None:
        self.total = total
        self.taken = 0
        self.refused = 0
        self._most_waiting = waiting
        self._patience = patience
        self._refusal = refusal
        self._average = usual
        self._rest = rest
        self._waiting: list[_Waiter] = []
        self._claims: dict[Hashable, int] = {}
        self._usage = Usage()
        self._logged = 0
        self._log_at = 0.0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def take(self, *sources: Hashable, is_favoured: bool = False) -> Turn:
        """A turn, or the refusal. A favoured request precedes others whose sources have used as much."""
        if self.taken < self.total:
            self._claim(sources)
            return self._begin(sources)
        waiter = _Waiter(sources, self._find_rank(sources) - is_favoured, self._patience * self._head_start)
        self._make_room(waiter.rank)
        self._claim(sources)
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._patience):
                return await waiter.future
        except BaseException as error:
            self._abandon(waiter)
            if isinstance(error, TimeoutError):
                raise self._refuse() from None
            raise

    def check_room(self, *sources: Hashable) -> None:
        """The refusal, if ``take`` would refuse these sources at once: an early check that takes nothing."""
        if not self.has_room(*sources):
            raise self._refusal()

    def has_room(self, *sources: Hashable) -> bool:
        """As ``check_room``; if there is none, a refusal is counted."""
        if self.taken < self.total or self._has_room or self._find_worse(self._find_rank(sources)) is not None:
            return True
        self._refuse()
        return False

    @property
    def _has_room(self) -> bool:
        in_time = int(self._patience * self.total / self._average)
        return len(self._waiting) < min(self._most_waiting, max(1, in_time))

    def _make_room(self, rank: int) -> None:
        if self._has_room:
            return
        worse = self._find_worse(rank)
        if worse is None:
            raise self._refuse()
        self._remove(worse)
        if not worse.future.done():
            worse.future.set_exception(self._refuse())

    def _find_worse(self, rank: int) -> _Waiter | None:
        """The last of those with the greatest rank, if that is greater than ``rank``.

        Much greater, if it has waited for a while: a late refusal has wasted its client's time.
        """
        worst = max(reversed(self._waiting), key=_rank_of, default=None)
        if worst is None:
            return None
        is_new = monotonic() - worst.since < _NEW_SECONDS
        return worst if worst.rank - rank > (0 if is_new else self._similar) else None

    def _find_rank(self, sources: Sources) -> int:
        """The magnitude of what the sources have used lately and ask for now, in turns of average length."""
        now = monotonic()
        used = sum(self._usage.of(source, now) for source in sources) / self._average
        claims = sum(self._claims.get(source, 0) for source in sources)
        return int(used + claims).bit_length()

    def _begin(self, sources: Sources) -> Turn:
        self.taken += 1
        return Turn(self, sources)

    def _take_back(self, sources: Sources, seconds: float) -> None:
        rest = seconds * self._rest
        self._average = max(_SHORTEST, self._average + (seconds + rest - self._average) * _NEWEST)
        self._charge(sources, seconds)
        self._release(sources)
        if rest and self._waiting:
            asyncio.get_running_loop().call_later(rest, self._give_to_next)
        else:
            self._give_to_next()

    def _give_to_next(self) -> None:
        self.taken -= 1
        # A request that is being cancelled leaves the queue by itself, in the next turn of the loop.
        best = min((each for each in self._waiting if not each.future.done()), key=_turn_of, default=None)
        if best is not None:
            self._waiting.remove(best)
            best.future.set_result(self._begin(best.sources))

    def _charge(self, sources: Sources, seconds: float) -> None:
        now = monotonic()
        for source in sources:
            self._usage.add(source, seconds, now)

    def _claim(self, sources: Sources) -> None:
        for source in sources:
            self._claims[source] = self._claims.get(source, 0) + 1

    def _release(self, sources: Sources) -> None:
        for source in sources:
            left = self._claims[source] - 1
            if left:
                self._claims[source] = left
            else:
                del self._claims[source]

    def _remove(self, waiter: _Waiter) -> None:
        self._waiting.remove(waiter)
        self._release(waiter.sources)

    def _abandon(self, waiter: _Waiter) -> None:
        if waiter in self._waiting:
            self._remove(waiter)
        elif waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
            # It got its place at the moment when it stopped waiting.
            waiter.future.result().give_back()

    def _refuse(self) -> ProblemError:
        self.refused += 1
        error = self._refusal()
        now = monotonic()
        if now >= self._log_at:
            # One line a second: a line for each request would add to the overload.
            log.warning("requests refused", reason=error.type, count=self.refused - self._logged, waiting=self.waiting)
            self._log_at = now + _LOG_SECONDS
            self._logged = self.refused
        return error


class SteadyPlaces(Places):
    """Places for short turns: their order is nearly that of arrival, so that hardly a refusal comes late."""

    _head_start = 0.2
    _similar = 3


def register_metrics(metrics: Metrics, kind: str, places: Places) -> None:
    """Add the places for one kind of work to the metrics."""

    def numbers() -> dict[tuple[str, ...], float]:
        return {(kind, "total"): places.total, (kind, "taken"): places.taken, (kind, "waiting"): places.waiting}

    metrics.add_gauge("kpi_places", "Places for costly work: total, taken, waiting", ("kind", "state"), numbers)
    text = "Requests refused because no place would have been free in time"
    metrics.add_counter("kpi_places_refused", text, ("kind",), lambda: {(kind,): places.refused})
