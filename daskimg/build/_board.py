"""What is known of a run while it goes, on the scheduler: counts, a state a shard, few pictures.

Plain data without Dask: the dashboard's page and the metrics are drawn from it. It is bounded:
a byte a shard, 240 bins of time, and the last 24 thumbnails.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from daskimg.timeline import Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PENDING, RUNNING, DONE, FAILED = range(4)
"""States of a shard."""

_PICTURES = 24


class Thumbnail(NamedTuple):
    """A JPEG of a few KB of a sample that has just been written, and which one it is."""

    content: bytes
    caption: str


class Board:
    """The counts of one run.

    Attributes
    ----------
    url, shards, samples
        The store; its shards and samples.
    states
        A byte a shard: ``PENDING``, ``RUNNING``, ``DONE`` or ``FAILED``.
    done, failed, resumed
        Samples of finished shards; those that failed; those that were finished before.
    source_bytes, stored_bytes
        Read and written by this run.
    reasons, stages
        Failed samples by reason; seconds of tasks by stage.
    rates
        Samples a second, over the seconds since the run began.
    pictures
        The last thumbnails, newest first.
    outcome
        How the run ended; empty while it goes.
    """

    def __init__(
        self, url: str, shards: int, samples: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self.shards = shards
        self.samples = samples
        self.states = bytearray(shards)
        self.done = self.failed = self.resumed = 0
        self.source_bytes = self.stored_bytes = 0
        self.reasons: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.rates = Rates()
        self.pictures: deque[Thumbnail] = deque(maxlen=_PICTURES)
        self.outcome = ""
        self._clock = clock
        self._began = clock()
        self._ended = 0.0
        self._running: dict[int, tuple[float, str]] = {}  # since when, and on which worker

    @property
    def seconds(self) -> float:
        """Seconds since the run began, or that it took."""
        return (self._ended if self.outcome else self._clock()) - self._began

    @property
    def rate(self) -> float:
        """Samples built by this run, a second."""
        return (self.done - self.resumed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def settled(self) -> float:
        """Seconds of the run of which the rate is known: no task that runs began before."""
        return min((since for since, _ in self._running.values()), default=self.seconds)

    def count(self, state: int) -> int:
        """Return the number of shards in a state."""
        return self.states.count(state)

    def take(self, message: Mapping[str, Any]) -> None:
        """Take a message of a worker or of the client; see ``Channel``."""
        word = message["state"]
        if word == "ended":
            self._ended = self._clock()
            self.outcome = message["outcome"]
        elif word == "resumed":
            self._resume(message)
        elif word == "running":
            self._begin(message["shard"], message["worker"])
        elif word == "failed":
            self._running.pop(message["shard"], None)
            self._set(message["shard"], FAILED)
        else:
            self._finish(message)

    def _resume(self, message: Mapping[str, Any]) -> None:
        for shard in message["shards"]:
            self.states[shard] = DONE
        self.done += message["samples"]
        self.resumed += message["samples"]
        self.failed += message["failed"]
        self.reasons.update(message["reasons"])

    def _begin(self, shard: int, worker: str) -> None:
        if self.states[shard] != DONE:  # a copy of a task that was slow
            self._running[shard] = (self.seconds, worker)
            self._set(shard, RUNNING)

    def _set(self, shard: int, state: int) -> None:
        if self.states[shard] != DONE:
            self.states[shard] = state

    def _finish(self, message: Mapping[str, Any]) -> None:
        shard = message["shard"]
        since, _ = self._running.pop(shard, (self.seconds, ""))
        if self.states[shard] == DONE:
            return
        self.states[shard] = DONE
        self.done += message["samples"]
        self.failed += message["failed"]
        self.reasons.update(message["reasons"])
        if message["resumed"]:
            self.resumed += message["samples"]
            return
        self.source_bytes += message["source_bytes"]
        self.stored_bytes += message["stored_bytes"]
        self.stages.update(message["stages"])
        self.rates.add(message["samples"], since, self.seconds)
        if message["picture"]:
            self.pictures.appendleft(Thumbnail(*message["picture"]))

    def lose(self, worker: str) -> None:
        """Take back what ran on a worker that is gone: it will run elsewhere."""
        for shard, (_, where) in list(self._running.items()):
            if where == worker:
                del self._running[shard]
                self._set(shard, PENDING)
