"""Leaving a thread to the next task while a shard is on its way to a bucket, or to a disk.

A put, its ledger entry and what is asked before each are four latencies in a row, in which a
core has nothing to do, and a disk takes as long as twenty pictures; decoding those of the next
shard takes longer than that.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distributed import Status, get_worker, secede

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Resting:
    """Tasks of this process that only write: as many as it has threads, since each has a shard."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def begin(self) -> bool:
        with self._lock:
            free = self._count < get_worker().state.nthreads
            self._count += free
        return free

    def end(self) -> None:
        with self._lock:
            self._count -= 1


_RESTING = _Resting()


@contextmanager
def resting() -> Iterator[Callable[[], None]]:
    """Yield what a task calls when it only writes any more."""
    begun = []

    def rest() -> None:
        # One that closes waits for its tasks, and holds the lock that secede waits for.
        if get_worker().status is Status.running and _RESTING.begin():
            begun.append(True)
            secede()

    try:
        yield rest
    finally:
        if begun:
            _RESTING.end()
