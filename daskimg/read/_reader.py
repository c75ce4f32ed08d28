"""Batches of given slots, made by threads within a budget of bytes."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.errors import OptionError
from daskimg.read._ahead import Ahead
from daskimg.read._sources import Memories
from daskimg.read._staged import steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from daskimg.augment import Moment
    from daskimg.read._batch import Batch
    from daskimg.read._options import Form, ReadOptions
    from daskimg.read._pool import Pool
    from daskimg.read._samples import Samples
    from daskimg.read._sources import AnyArrays, Looked, Ring
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
    horizon
        To be told of the batches to come.

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
        self._arrays = arrays
        pooled = self._steps.pooled
        self.ahead, connections = self._divide(pooled, _span(window, options, lines))
        self.horizon = Ahead(pooled, connections)
        self._ring_kind = lines, options.allocate, tuple(self._steps.fields.items())
        self._ring: Ring = deque()

    @property
    def pool(self) -> Pool:
        """What is held of decoded chunks."""
        return self._steps.pool

    def _divide(self, pooled: Sequence[Looked], span: int) -> tuple[int, int]:
        """Give the budget to decoded chunks, batches and connections.

        Returns
        -------
        batches ahead, connections
            As many as are wished, or as there is room for.
        """
        options = self._options
        batch = self._lines * sum(map(_bytes_of, self._steps.fields.values()))
        own = [each.sharded for each in pooled if each.pool is self.pool]
        held, transfer = _pooled_bytes(own, span, options.workers), _transfer_bytes(pooled)
        room = options.budget - held - transfer
        ahead = min(options.prefetch, room // max(1, batch) - 1)
        if ahead < 0:
            needed = held + transfer
            raise OptionError(
                f"budget must hold a batch of {batch:,} bytes and decoded chunks of {needed:,}, "
                f"got {options.budget:,}; try {needed + 3 * batch}, a smaller batch_size or "
                "window_bytes"
            )
        room -= (ahead + 1) * batch
        connections = min(options.connections, 1 + room // max(1, transfer))
        self.pool.capacity = options.budget - (ahead + 1) * batch - connections * transfer
        return ahead, connections

    def begin(self, share: Share, moment: Moment, threads: Executor) -> Pending:
        """Let threads fill a batch."""
        arrays = self._memory(len(share.slots))
        for array in arrays.values():
            array[share.slots < 0] = 0
        batch, work = self._steps.begin(share, moment, arrays)
        parts = np.array_split(share.lines, self._options.workers)
        tasks = [threads.submit(work, part) for part in parts if len(part)]
        return Pending(batch, tasks, share.behind)

    def prepare(self, samples: int) -> None:
        """Take over memory that another epoch has left, before any of some samples is read."""
        self._steps.foresee(samples, self._lines)
        if self._options.reuse:
            self._ring, spare = self._arrays.memories(self._ring_kind)
            self.pool.take_over(spare)

    def release(self) -> None:
        """Let memory go, what is reused to the next epoch; nothing is written there any more."""
        spare = self.pool.emptied()
        for each in self._steps.pooled:
            each.pool.emptied()
        if self._ring:
            self._arrays.keep(self._ring_kind, Memories(self._ring, spare))
            self._ring = deque()

    def _memory(self, lines: int) -> dict[str, NDArray[Any]]:
        """Return arrays to fill: the longest used of a ring, or new ones."""
        if not self._options.reuse:
            return self._allocated(lines)
        if len(self._ring) <= self.ahead:
            self._ring.append(self._allocated(self._lines))
        else:
            self._ring.rotate(-1)
        return {name: array[:lines] for name, array in self._ring[-1].items()}

    def _allocated(self, lines: int) -> dict[str, NDArray[Any]]:
        return allocated(self._options, self._steps.fields, lines)


def allocated(form: Form, fields: Mapping[str, Field], lines: int) -> dict[str, NDArray[Any]]:
    """Return memory for a batch of so many lines."""
    return {
        name: _allocated(form, (lines, *field.shape), field.dtype)
        for name, field in fields.items()
    }


def _allocated(form: Form, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return memory of the caller's kind, or refuse what could not be written into."""
    array = form.allocate(shape, dtype)
    if array.shape != shape or array.dtype != dtype or not array.flags.carray:
        raise OptionError(
            f"allocate must return a C-contiguous, writable array of shape {shape} and dtype "
            f"{dtype}, got shape {array.shape} and dtype {array.dtype}; try numpy.empty"
        )
    return array


def _pooled_bytes(arrays: Iterable[Sharded], span: int, threads: int) -> int:
    """Return what decoded chunks must have: those of a span, and a piece for each thread.

    Without windows, which have no span, two for each.
    """
    total = 0
    for each in arrays:
        samples = span + threads * each.unit * (1 if span else 2)
        most = -(-each.shape[0] // each.unit) * each.unit  # all there are
        total += min(samples, most) * each.sample_bytes
    return total


def _transfer_bytes(pooled: Iterable[Looked]) -> int:
    """Return what a shard on its way takes beside its piece.

    From most kinds of storage it comes in memory of its own, in parts, to be joined; that is the
    piece itself, unless it is compressed or kept in a file.
    """
    return max(
        (
            each.sharded.largest * (1 if each.is_as_read else 2)
            for each in pooled
            if not each.sharded.local
        ),
        default=0,
    )


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
