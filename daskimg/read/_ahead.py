"""Reading ahead: what batches to come will need is asked for in time, many at once."""

from __future__ import annotations

import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from daskimg.read._pool import Pool, Wish
    from daskimg.read._sources import Looked

_FARTHEST = 1 << 10  # batches: as far as the pool of a large cache would have it go


class Ahead:
    """Knows the batches to come, as many as a pool can serve, and has remote pieces fetched.

    Parameters
    ----------
    sources
        Arrays that are read through a pool; none, and there is nothing to look ahead for.
    connections
        Pieces on their way at once.
    """

    def __init__(self, sources: Sequence[Looked], connections: int) -> None:
        self._sources = sources
        self._connections = connections
        self._batches: deque[list[tuple[Pool, list[Wish]]]] = deque()
        self._queue: deque[tuple[Pool, Wish]] = deque()
        self._threads: ThreadPoolExecutor | None = None

    @property
    def looks_further(self) -> bool:
        """Whether it can make use of knowing one more batch."""
        sated = any(source.pool.sated for source in self._sources)
        return bool(self._sources) and not sated and len(self._batches) < _FARTHEST

    def announce(self, slots: NDArray[np.int64]) -> None:
        """Take note of the next batch; -1 is padding."""
        rising = slots[slots >= 0]
        batch = [(source.pool, source.wishes(rising)) for source in self._sources]
        for source, (pool, wishes) in zip(self._sources, batch, strict=True):
            pool.announce(wishes)
            if not source.sharded.local:
                self._queue.extend((pool, wish) for wish in wishes)
        self._batches.append(batch)

    def over(self) -> None:
        """Take note that the first of the batches is made."""
        for pool, wishes in self._batches.popleft():
            pool.renounce(wishes)

    def go_on(self) -> None:
        """Ask for what there is room for, in the order in which it will be needed."""
        if self._queue and self._threads is None:
            self._threads = ThreadPoolExecutor(self._connections, "daskimg-ahead")
            # Threads of an epoch that is let go half-way end when what they do is done.
            self._end = weakref.finalize(self, stop, self._threads)
        while self._queue and self._threads is not None:
            pool, wish = self._queue[0]
            if not pool.ahead(wish, self._threads):
                return
            self._queue.popleft()

    def close(self) -> None:
        """Forget the batches, and call off what is not on its way."""
        self._batches.clear()
        self._queue.clear()
        for source in self._sources:
            source.pool.close()
        if self._threads is not None:
            self._end()
            self._threads = None


def stop(threads: ThreadPoolExecutor) -> None:
    """End threads when what they do is done."""
    threads.shutdown(wait=False, cancel_futures=True)
