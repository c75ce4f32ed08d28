"""Batches of given slots, made by threads within a budget of bytes."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from daskimg import store
from daskimg.errors import OptionError
from daskimg.read._ahead import Ahead
from daskimg.read._batch import Batch
from daskimg.read._pool import Pool
from daskimg.read._sources import Pooled
from daskimg.read._writers import Copied, Norm, Normalised, Turned

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future, ThreadPoolExecutor

    from numpy.typing import NDArray

    from daskimg.read._options import Form, ReadOptions
    from daskimg.read._samples import Samples
    from daskimg.read._sources import Arrays, Mapped, Ring, Source
    from daskimg.read._writers import Writer
    from daskimg.statistics import Floating
    from daskimg.store import Sharded

_IMAGE = "image"


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
    pool
        What is held of decoded chunks.
    horizon
        To be told of the batches to come.

    Raises
    ------
    OptionError
        If the options do not fit the store, or its chunks not the budget.
    """

    def __init__(
        self, samples: Samples, arrays: Arrays, options: ReadOptions, lines: int, window: int
    ) -> None:
        names = [name for name in dict.fromkeys(options.targets) if name != _IMAGE]
        samples.require(names)
        sharded = {name: arrays.sharded(name) for name in (_IMAGE, *names)}
        self._large = {name: each for name, each in sharded.items() if each is not None}
        self._small = {name: samples.array(name) for name in names if name not in self._large}
        self._labels, self._status = samples.labels, samples.status
        self._options, self._lines = options, lines
        self.pool = Pool(0)
        self._arrays = arrays
        sources = {name: self._source(each) for name, each in self._large.items()}
        self._writers = {
            name: _writer(samples, name, source, options) for name, source in sources.items()
        }
        pooled = [source for source in sources.values() if isinstance(source, Pooled)]
        self.ahead, connections = self._divide(pooled, _span(window, options, lines))
        self.horizon = Ahead(pooled, connections)
        forms = [(name, each.shape, each.dtype) for name, each in self._writers.items()]
        self._ring_kind = lines, options.allocate, forms
        self._ring: Ring = deque()

    def _source(self, sharded: Sharded) -> Mapped | Pooled:
        """Return an array's samples: mapped where they can be, or else through a pool."""
        check = self._options.check == "first"
        if sharded.mappable:
            return self._arrays.mapped(sharded, check=check)
        if sharded.local or self._options.cache is None:
            return Pooled(sharded, self.pool, check=check)
        cache = self._arrays.cache(self._options.cache, self._options.cache_bytes)
        pool = Pool(cache.room(sharded)) if sharded.codec == "none" else self.pool
        return Pooled(sharded, pool, check=check, cache=cache)

    def _divide(self, pooled: list[Pooled], span: int) -> tuple[int, int]:
        """Give the budget to decoded chunks, batches and connections.

        Returns
        -------
        batches ahead, connections
            As many as are wished, or as there is room for.
        """
        options = self._options
        batch = sum(self._lines * _bytes_of(writer) for writer in self._writers.values())
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

    def begin(self, slots: NDArray[np.int64], behind: int, threads: ThreadPoolExecutor) -> Pending:
        """Let threads fill a batch of slots, of which -1 is padding."""
        given = slots >= 0
        arrays = self._memory(len(slots))
        for array in arrays.values():
            array[~given] = 0
        lines = np.argsort(slots, kind="stable")[np.count_nonzero(~given) :]
        tasks = [
            threads.submit(self._writers[name].write, slots[part], part, array)
            for name, array in arrays.items()
            for part in np.array_split(lines, self._options.workers)
            if len(part)
        ]
        small = {name: _picked(values, slots, given) for name, values in self._small.items()}
        batch = Batch(
            image=arrays[_IMAGE],
            label=_picked(self._labels, slots, given),
            sample=slots,
            valid=given & (self._status[slots] == store.OK),
            targets={name: {**arrays, **small}[name] for name in self._options.targets},
        )
        return Pending(batch, tasks, behind)

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
        return {
            name: _allocated(self._options, (lines, *writer.shape), writer.dtype)
            for name, writer in self._writers.items()
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


def _writer(samples: Samples, name: str, source: Source, form: Form) -> Writer:
    """Return what writes an array: targets as they are stored, images in their form."""
    stored = source.sharded.dtype
    if name != _IMAGE:
        return Copied(source)
    if form.normalised:
        return Normalised(source, _norm(samples, form))
    if form.dtype is not None and stored != form.dtype:
        raise OptionError(
            f"dtype is {form.dtype}, and the store's images are {stored}; try dtype=None, as "
            "stored, or float32"
        )
    return Turned(source) if form.layout == "chw" else Copied(source)


def _norm(samples: Samples, form: Form) -> Norm:
    """Return by what images are normalised: by the store's own statistics, if nothing is said."""
    mean, std = form.mean, form.std
    if form.mode == "mean-std" and mean is None and std is None:
        if samples.split is not None:
            raise OptionError(
                "a store with splits has several means; give those of the training split: "
                "mean=train.mean, std=train.std"
            )
        mean, std = samples.mean, samples.std
    centre, spread = (None if each is None else tuple(map(float, each)) for each in (mean, std))
    floating = cast("Floating", form.dtype)
    return Norm(form.mode, centre, spread, floating, form.layout)


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


def _transfer_bytes(pooled: Iterable[Pooled]) -> int:
    """Return what a shard on its way takes beside its piece: it arrives in parts, to be joined.

    The joined one is the piece itself, unless it is compressed or kept in a file.
    """
    return max(
        (
            max(size for size, _ in each.sharded.stamps) * (1 if each.is_as_read else 2)
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


def _bytes_of(writer: Writer) -> int:
    return math.prod(writer.shape) * writer.dtype.itemsize


def _picked(
    values: NDArray[Any], slots: NDArray[np.int64], given: NDArray[np.bool_]
) -> NDArray[Any]:
    """Return the entries of some slots; of padding, what means none."""
    found = values[slots]
    if not given.all():
        none = {"f": np.nan, "i": -1}.get(values.dtype.kind, 0)
        found[~given] = none
    return found
