"""When tasks ran, for how long at which stage, and what therefore limited a run.

Times are for people: they are in reports, never in the store, whose bytes depend on none.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from daskimg.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGES = ("fetch", "decode", "transform", "write")
"""What a task does, in order: ``fetch`` reads sources, or waits for them; ``decode`` hashes and
decodes; ``transform`` takes the recipe's steps, copies into the shard and sums it up; ``write``
seals, hashes and puts the shard and its ledger entry."""

_IDLE = 0.3  # of all threads' time: from here on, what they do is not what limits the run
_BUSY = 0.7  # of a task's time: below, its thread was waiting for a core or for a lock


class Stopwatch:
    """One task's time by stage: each lap gives a stage the time since the last one.

    A lap costs less than a microsecond, and a picture takes three.
    """

    __slots__ = ("_at", "_cpu", "_mine", "_others", "_thread", "began")

    def __init__(self) -> None:
        self.began = time.time()
        self._mine = dict.fromkeys(STAGES, 0.0)
        self._others: list[Stopwatch] = []
        self._thread = threading.get_ident()
        self._cpu = time.thread_time()
        self._at = time.perf_counter()

    def in_this_thread(self) -> Stopwatch:
        """Return this watch, or one for a thread that helps: its time is the task's, too."""
        if threading.get_ident() == self._thread:
            return self
        other = Stopwatch()
        self._others.append(other)
        return other

    def lap(self, stage: str) -> None:
        """Give a stage the time since the last lap."""
        now = time.perf_counter()
        self._mine[stage] += now - self._at
        self._at = now

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage, of all threads that took part."""
        watches = [self, *self._others]
        return {stage: sum(watch._mine[stage] for watch in watches) for stage in STAGES}

    @property
    def cpu(self) -> float:
        """Seconds that the task's own thread has had a core since the watch was started."""
        return time.thread_time() - self._cpu


class Span(NamedTuple):
    """A task: its shard, the worker it ran on, when, in seconds since 1970, and its samples."""

    shard: int
    worker: str
    began: float
    ended: float
    samples: int


@dataclass(slots=True)
class Timeline:
    """The tasks of a run that built something.

    Attributes
    ----------
    threads
        Of all workers, when the run began; 0 if that is unknown.
    spans
        The tasks, in the order in which they were finished.
    stages
        Seconds of all tasks by stage.
    cpu
        Seconds in which their threads had a core.
    """

    threads: int = 0
    spans: list[Span] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)
    cpu: float = 0.0

    def add(self, span: Span, stages: dict[str, float], cpu: float) -> None:
        """Count a task."""
        self.spans.append(span)
        self.stages.update(stages)
        self.cpu += cpu

    @property
    def busy(self) -> float:
        """Seconds of all tasks."""
        return sum(span.ended - span.began for span in self.spans)

    @property
    def seconds(self) -> float:
        """Seconds from the first task's beginning to the last one's end."""
        if not self.spans:
            return 0.0
        return max(span.ended for span in self.spans) - min(span.began for span in self.spans)

    def shares(self) -> dict[str, float]:
        """Return each stage's share of all tasks' time.

        >>> line = Timeline()
        >>> line.add(Span(0, "a", 0.0, 4.0, 9), {"fetch": 1.0, "decode": 3.0}, 3.0)
        >>> line.shares()
        {'fetch': 0.25, 'decode': 0.75, 'transform': 0.0, 'write': 0.0}
        """
        total = sum(self.stages.values())
        return {stage: self.stages[stage] / total if total else 0.0 for stage in STAGES}

    def limit(self) -> str:
        """Return in words what limited the run; nothing of a run without a task.

        Clocks of several hosts may differ by a little, and so may what follows from them.
        """
        if not self.spans or not self.busy:
            return ""
        return self._idleness() or self._stage()

    def _idleness(self) -> str:
        """Return why threads had nothing to do, if that was what limited the run."""
        all_time = self.threads * self.seconds
        idle = all_time - sum(self.stages.values())  # also of threads that helped a task
        if idle <= _IDLE * all_time:
            return ""
        share = f"threads had nothing to do for {idle / all_time:.0%} of the time"
        if len(self.spans) < self.threads:
            shards = counted(len(self.spans), "shard")
            return f"too few shards, {shards} for {self.threads:,} threads: {share}"
        if self._tail() > idle / 2:
            return f"the last shards: {share}, most of it at the end; smaller shards end together"
        return f"the handing out of tasks: {share}"

    def _tail(self) -> float:
        """Return the seconds that threads had nothing to do after the last task had begun."""
        last = max(span.began for span in self.spans)
        end = max(span.ended for span in self.spans)
        worked = sum(max(0.0, span.ended - last) for span in self.spans)
        return self.threads * (end - last) - worked

    def _stage(self) -> str:
        stage, share = max(self.shares().items(), key=lambda item: item[1])
        if stage == "fetch":
            return f"storage: tasks waited for their sources for {share:.0%} of their time"
        if stage == "write":
            return f"storage: tasks wrote for {share:.0%} of their time"
        doing = {"decode": "decoding", "transform": "the recipe's steps"}[stage]
        cores = self.cpu / self.busy
        text = f"{doing}: {share:.0%} of the tasks' time"
        if cores < _BUSY:
            return f"{text}, of which threads had a core for {cores:.0%} only"
        return f"{text}, and cores were busy"

    def concurrency(self) -> Iterator[tuple[float, int]]:
        """Yield (seconds since the first task's beginning, tasks that run from then on)."""
        if not self.spans:
            return
        first = min(span.began for span in self.spans)
        turns = [(span.began - first, 1) for span in self.spans]
        turns += [(span.ended - first, -1) for span in self.spans]
        running = 0
        for at, change in sorted(turns):
            running += change
            yield at, running


class Rates:
    """Samples a second over time, in a bounded number of bins of equal width.

    A task's samples are taken to have come evenly over its time. When time outgrows the bins,
    they are merged by twos.

    >>> rates = Rates(width=1.0)
    >>> rates.add(30, 0.0, 3.0)
    >>> rates.add(10, 2.0, 3.0)
    >>> rates.values()
    [10.0, 10.0, 20.0]
    """

    MOST = 240

    def __init__(self, width: float = 0.5) -> None:
        self.width = width
        self._samples: list[float] = []

    def add(self, samples: int, start: float, stop: float) -> None:
        """Count samples that were made from ``start`` to ``stop``, in seconds of the run."""
        start = max(0.0, start)
        stop = max(stop, start + 1e-6)
        while stop > self.MOST * self.width:
            self._merge()
        last = int(stop / self.width)
        self._samples += [0.0] * (last + 1 - len(self._samples))
        for place in range(int(start / self.width), last + 1):
            low, high = place * self.width, (place + 1) * self.width
            share = (min(stop, high) - max(start, low)) / (stop - start)
            self._samples[place] += samples * share

    def _merge(self) -> None:
        self._samples += [0.0] * (len(self._samples) % 2)
        pairs = zip(self._samples[::2], self._samples[1::2], strict=True)
        self._samples = [a + b for a, b in pairs]
        self.width *= 2

    def values(self) -> list[float]:
        """Return samples a second of each bin; what ends on a bin's edge opens no other."""
        found = [samples / self.width for samples in self._samples]
        while found and not found[-1]:
            found.pop()
        return found
