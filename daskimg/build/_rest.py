"""Leaving a thread to the next task while a shard is on its way to a bucket.

A put, its ledger entry and what is asked before each are four latencies in a row, in which a
processor has nothing to do; decoding the next shard's pictures takes longer than that.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distributed import get_worker, secede

from daskimg.fetch import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daskimg.plan import Brief


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
def resting(brief: Brief) -> Iterator[Callable[[], None] | None]:
    """Yield what a task calls when it only writes any more; ``None`` where a disk is quick."""
    if not is_url(brief.url):
        yield None
        return
    begun = []

    def rest() -> None:
        if _RESTING.begin():
            begun.append(True)
            secede()

    try:
        yield rest
    finally:
        if begun:
            _RESTING.end()
