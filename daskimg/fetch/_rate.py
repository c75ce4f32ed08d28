"""How many requests a second: what a bucket bears at first, less when servers ask for it.

Google's buckets take about 5,000 reads and 1,000 writes a second at first, and twice as many
every 20 minutes (https://cloud.google.com/storage/docs/request-rate). A run begins below that
and grows as fast. Answers of 429 and 503 slow it down by half of their share among the answers of
the last second, as congestion does in RFC 8257 (DCTCP): some errors among many cost little, a
server that refuses everything is asked half as much each second. What was taken off comes
back evenly.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from daskimg.fetch._options import configured, when_configured
from daskimg.fetch._owners import OWN, PerOwner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from daskimg.fetch._traffic import Kind

Side = Literal["read", "write"]

DOUBLING = 1200.0
"""Seconds in which a bucket comes to bear twice as many requests."""

_SIDES: tuple[Side, Side] = ("read", "write")
_RECOVERY = 60.0  # seconds in which a pace that was halved is whole again, about
_LEAST = 1.0  # requests a second that are always made, to see whether the server is back
_WINDOW = 1.0  # seconds over which answers are looked at, and between two slowings
_LOOK = 0.25  # seconds after a first refusal: those that went out with it are back, too
_BURST = 0.1  # seconds of requests that may go out at once
_BLINK = 0.001  # seconds: a shorter wait may not change what a clock shows
_NAP = 0.5  # seconds after which whoever waits looks again: the pace may have changed


class Pace(NamedTuple):
    """Requests a second as a function of time: a ramp, and below it the way back from a slowing.

    Attributes
    ----------
    start
        Requests a second at the beginning of the ramp.
    began
        When that was, on the clock of this process.
    low, growth, slowed
        The pace when it was slowed last, what it grows by each second since, and when that was.
    """

    start: float
    began: float
    low: float = math.inf
    growth: float = 0.0
    slowed: float = -1e9

    def ceiling(self, now: float) -> float:
        """Return the ramp.

        >>> Pace(4000.0, began=0.0).ceiling(2400.0)
        16000.0
        """
        return self.start * math.exp2(max(0.0, now - self.began) / DOUBLING)

    def at(self, now: float) -> float:
        """Return the requests a second at a time."""
        if self.low == math.inf:
            return self.ceiling(now)
        return min(self.ceiling(now), self.low + self.growth * (now - self.slowed))

    def slower(self, now: float, share: float) -> Pace:
        """Return the pace after so large a share of answers refused.

        >>> Pace(4000.0, began=0.0).slower(0.0, share=1.0).at(30.0)
        4000.0
        """
        before, ceiling = self.at(now), self.ceiling(now)
        growth = max(self.growth, before / _RECOVERY) if before < ceiling else ceiling / _RECOVERY
        low = max(min(_LEAST, ceiling), before * (1.0 - share / 2.0))
        return self._replace(low=low, growth=growth, slowed=now)

    def part(self, parts: int) -> Pace:
        """Return the pace of one of so many who share this one."""
        return self._replace(
            start=self.start / parts, low=self.low / parts, growth=self.growth / parts
        )

    def shifted(self, seconds: float) -> Pace:
        """Return the pace on a clock that shows so much more."""
        return self._replace(began=self.began + seconds, slowed=self.slowed + seconds)


class Answers(NamedTuple):
    """Requests of about the last second, and those of them that were refused with 429 or 503."""

    asked: float = 0.0
    refused: float = 0.0

    @property
    def share(self) -> float:
        """The refused ones' part."""
        return min(1.0, self.refused / self.asked) if self.asked else 0.0


class _Turnstile:
    """One side of a limiter: tokens that come at a pace, and the answers of late."""

    def __init__(self, pace: Pace, now: float) -> None:
        self.pace = pace
        self._tokens = max(1.0, _BURST * pace.at(now))
        self._answers = Answers()
        self._refused: float | None = None  # when the first was of which nothing came yet
        self._at = now

    def answers(self, now: float) -> Answers:
        """Return the answers of late; older ones fade."""
        self._pass_time(now)
        return self._answers

    def wait(self, now: float) -> float:
        """Return the seconds until there is a token; 0 if there is."""
        self._pass_time(now)
        return max(0.0, (1.0 - self._tokens) / self.pace.at(now))

    def take(self, now: float) -> None:
        """Take a token."""
        self._pass_time(now)
        self._tokens -= 1.0
        self._answers = self._answers._replace(asked=self._answers.asked + 1.0)

    def refused(self, now: float) -> None:
        """Note an answer of 429 or 503."""
        self._pass_time(now)
        self._answers = self._answers._replace(refused=self._answers.refused + 1.0)
        if self._refused is None:
            self._refused = now

    def slow_down(self, now: float) -> bool:
        """Go slower if there were refusals; tell whether it was time for that."""
        if self._refused is None or now < max(self._refused + _LOOK, self.pace.slowed + _WINDOW):
            return False
        self._refused = None
        self.pace = self.pace.slower(now, self.answers(now).share)
        return True

    def _pass_time(self, now: float) -> None:
        passed = max(0.0, now - self._at)
        if passed:
            rate = self.pace.at(now)
            self._tokens = min(max(1.0, _BURST * rate), self._tokens + passed * rate)
            fade = math.exp(-passed / _WINDOW)
            self._answers = Answers(*(count * fade for count in self._answers))
            self._at = now


Part = dict[str, tuple[float, ...]]
"""A pace for each side, on a clock that shows 0: plain, to travel to another process."""


class Limiter:
    """Lets requests of this process go out at their pace; safe in threads and on any loop.

    Parameters
    ----------
    clock, sleep
        Others in tests.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._queues: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()
        self._listener: Callable[[dict[str, list[float]]], object] | None = None
        self._gates: dict[str, _Turnstile] = {}

    def begin(self) -> None:
        """Begin anew, at the bottom of the ramp, with the options that hold now."""
        with self._lock:
            self._gates.clear()

    async def admit(self, kind: Kind) -> float:
        """Wait until a request may go out; return the seconds that it took.

        Whoever comes first goes first: what is read ahead is wanted in its order.
        """
        side = side_of(kind)
        began = self._clock()
        queue = self._queues.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        self._slow_down(side)
        if not queue.locked() and self._passes(side) == 0.0:
            return 0.0
        async with queue:
            while (wait := self._passes(side)) > 0.0:
                await self._sleep(min(max(wait, _BLINK), _NAP))
        return self._clock() - began

    def refused(self, kind: Kind) -> None:
        """Note that a request was answered by 429 or 503."""
        with self._lock:
            now = self._clock()
            self._gate(side_of(kind), now).refused(now)

    def tell(self, listener: Callable[[dict[str, list[float]]], object] | None) -> None:
        """Have somebody told of the answers whenever they slowed the pace: a second apart."""
        self._listener = listener

    def _slow_down(self, side: Side) -> None:
        with self._lock:
            now = self._clock()
            gate = self._gate(side, now)
            slowed = gate.slow_down(now)
            answers = gate.answers(now)
        if slowed and self._listener is not None:
            self._listener({side: list(answers)})

    def slow(self, shares: dict[str, float]) -> None:
        """Slow sides down by the shares of answers that others saw refused."""
        with self._lock:
            now = self._clock()
            for side, share in shares.items():
                gate = self._gate(side, now)
                gate.pace = gate.pace.slower(now, share)

    def part(self, parts: int) -> Part:
        """Return what each of so many processes may do of this one's pace."""
        with self._lock:
            now = self._clock()
            gates = {name: self._gate(name, now) for name in self._names()}
            return {n: tuple(g.pace.part(parts).shifted(-now)) for n, g in gates.items()}

    def follow(self, part: Part) -> None:
        """Go on at a pace that was given: a part of a run's."""
        with self._lock:
            now = self._clock()
            for name, numbers in part.items():
                self._gate(name, now).pace = Pace(*numbers).shifted(now)

    def paces(self) -> dict[str, float]:
        """Return the requests a second of each side now; ``all`` if both have a limit."""
        with self._lock:
            now = self._clock()
            return {name: self._gate(name, now).pace.at(now) for name in self._names()}

    def _names(self) -> list[str]:
        limited = configured().requests_per_second is not None
        return [*_SIDES, "all"] if limited else [*_SIDES]

    def _passes(self, side: Side) -> float:
        """Take a token of all gates on the way; or return the seconds until they have one."""
        with self._lock:
            now = self._clock()
            names = [side, "all"] if "all" in self._names() else [side]
            gates = [self._gate(name, now) for name in names]
            wait = max(gate.wait(now) for gate in gates)
            if wait == 0.0:
                for gate in gates:
                    gate.take(now)
            return wait

    def _gate(self, name: str, now: float) -> _Turnstile:
        if name not in self._gates:
            self._gates[name] = _Turnstile(_first_pace(name, now), now)
        return self._gates[name]


def side_of(kind: Kind) -> Side:
    """Return the side on which a kind of request counts; deleting is writing."""
    return "write" if kind in ("write", "delete") else "read"


def _first_pace(name: str, now: float) -> Pace:
    options = configured()
    if name == "all":
        assert options.requests_per_second is not None
        # No ramp: a limit that somebody sets stays.
        return Pace(math.inf, now, low=float(options.requests_per_second))
    start = options.reads_per_second if name == "read" else options.writes_per_second
    return Pace(float(start), now)


_LIMITERS = PerOwner(Limiter)


def limiter(name: str | None = None) -> Limiter:
    """Return the limiter of somebody; by default of whom this thread acts for."""
    return _LIMITERS.mine() if name is None else _LIMITERS.of(name)


def _begin(name: str) -> None:
    """Begin anew with other options; whoever takes its own back needs none any more."""
    if name == OWN:
        for each in _LIMITERS.all():
            each.begin()
    else:
        _LIMITERS.drop(name)


when_configured(_begin)
