"""Batches of given slots, made by threads within a budget of bytes."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.errors import OptionError
from daskimg.read._staged import steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from daskimg.augment import Moment
    from daskimg.read._batch import Batch
    from daskimg.read._joined import JoinedSharded
    from daskimg.read._options import ReadOptions
    from daskimg.read._samples import Samples
    from daskimg.read._sources import AnyArrays, Pool, Ring
    from daskimg.read._staged import Share
    from daskimg.read._transformed import Field
    from daskimg.store import Sharded


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch that threads are filling.

    ``behind`` is the place in the epoch behind it.
    """

    batch: Batch
    tasks: list[Future[None]]
    behind: int

    def result(self) -> Batch:
        """Return the batch as soon as it is filled; raise what a thread raised."""
        for task in self.tasks:
            task.result()
        return self.batch

    def drop(self) -> None:
        """Let no thread write into it any more."""
        for task in self.tasks:
            task.cancel()
        wait(self.tasks)


class Reader:
    """Makes batches of given slots.

    Parameters
    ----------
    samples, arrays
        The store.
    options
        How it is read.
    lines
        Samples in the largest batch.
    window
        Samples that a window of the order spans; 0 if it has none.

    Attributes
    ----------
    ahead
        Batches that may be filled before they are asked for.

    Raises
    ------
    OptionError
        If the options do not fit the store, or its chunks not the budget.
    """

    def __init__(
        self, samples: Samples, arrays: AnyArrays, options: ReadOptions, lines: int, window: int
    ) -> None:
        self._steps = steps_of(samples, arrays, options)
        self._options, self._lines = options, lines
        self.ahead = self._divide(
            _pooled_bytes(self._steps.large, _span(window, options, lines), options.workers)
        )
        self._arrays = arrays
        self._ring_kind = (lines, options.allocate, tuple(self._steps.fields.items()))
        self._ring: Ring = deque()

    def _divide(self, pooled: int) -> int:
        """Give the budget to decoded chunks and to batches; return how many of these ahead."""
        batch = self._lines * sum(map(_bytes_of, self._steps.fields.values()))
        budget = self._options.budget
        ahead = min(self._options.prefetch, (budget - pooled) // max(1, batch) - 1)
        if ahead < 0:
            raise OptionError(
                f"budget must hold a batch of {batch:,} bytes and decoded chunks of {pooled:,}, "
                f"got {budget:,}; try {pooled + 3 * batch}, a smaller batch_size or window_bytes"
            )
        self._steps.pool.capacity = budget - (ahead + 1) * batch
        return ahead

    @property
    def pool(self) -> Pool:
        """What is held of decoded chunks."""
        return self._steps.pool

    def begin(self, share: Share, moment: Moment, threads: Executor) -> Pending:
        """Let threads fill a batch."""
        arrays = self._memory(len(share.slots))
        for array in arrays.values():
            array[share.slots < 0] = 0
        batch, work = self._steps.begin(share, moment, arrays)
        parts = np.array_split(share.lines, self._options.workers)
        return Pending(
            batch, [threads.submit(work, part) for part in parts if len(part)], share.behind
        )

    def release(self) -> None:
        """Keep reused memory for the next epoch; nothing is written into it any more."""
        if self._ring:
            self._arrays.keep(self._ring_kind, self._ring)
            self._ring = deque()

    def _memory(self, lines: int) -> dict[str, NDArray[Any]]:
        """Return arrays to fill: the longest used of a ring, or new ones."""
        if not self._options.reuse:
            return self._allocated(lines)
        if not self._ring:
            self._ring = self._arrays.ring(self._ring_kind)
        if len(self._ring) <= self.ahead:
            self._ring.append(self._allocated(self._lines))
        else:
            self._ring.rotate(-1)
        return {name: array[:lines] for name, array in self._ring[-1].items()}

    def _allocated(self, lines: int) -> dict[str, NDArray[Any]]:
        allocate = self._options.allocate
        forms = self._steps.fields.items()
        return {name: allocate((lines, *shape), dtype) for name, (shape, dtype) in forms}


def _pooled_bytes(arrays: Iterable[Sharded | JoinedSharded], span: int, threads: int) -> int:
    """Return what decoded chunks must have: those of a span, and a piece for each thread.

    Without windows, which have no span, two for each.
    """
    total = 0
    for each in arrays:
        if not each.mappable:
            samples = span + threads * each.unit * (1 if span else 2)
            most = -(-each.shape[0] // each.unit) * each.unit  # all there are
            total += min(samples, most) * each.sample_bytes
    return total


def _span(window: int, options: ReadOptions, lines: int) -> int:
    """Return the samples whose chunks must be held, so that none is decoded twice.

    Batches on their way are filled in any order: while a window is read, threads may still be
    at the windows before it, and already at those behind it.
    """
    if not window:
        return 0
    on_the_way = (options.prefetch + 1) * lines * options.world
    return window * (1 + 2 * -(-on_the_way // window))


def _bytes_of(field: Field) -> int:
    return math.prod(field.shape) * field.dtype.itemsize
