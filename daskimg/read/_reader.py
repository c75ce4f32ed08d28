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
from daskimg.read._batch import Batch
from daskimg.read._sources import Pool
from daskimg.read._writers import Copied, Norm, Normalised, Turned

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future, ThreadPoolExecutor

    from numpy.typing import NDArray

    from daskimg.read._joined import JoinedSharded
    from daskimg.read._options import Form, ReadOptions
    from daskimg.read._samples import Samples
    from daskimg.read._sources import AnyArrays, Ring, Source
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

    Raises
    ------
    OptionError
        If the options do not fit the store, or its chunks not the budget.
    """

    def __init__(
        self, samples: Samples, arrays: AnyArrays, options: ReadOptions, lines: int, window: int
    ) -> None:
        names = [name for name in dict.fromkeys(options.targets) if name != _IMAGE]
        samples.require(names)
        sharded = {name: samples.sharded(name) for name in (_IMAGE, *names)}
        self._large = {name: each for name, each in sharded.items() if each is not None}
        self._small = {name: samples.array(name) for name in names if name not in self._large}
        self._samples, self._labels, self._status = samples, samples.labels, samples.status
        self._options, self._lines = options, lines
        self.pool = Pool(0)
        self._writers: dict[str, Writer] = {}
        for name, each in self._large.items():
            source = arrays.source(each, self.pool, check=options.check == "first")
            self._writers[name] = _writer(samples, name, source, options)
        self.ahead = self._divide(
            _pooled_bytes(self._large.values(), _span(window, options, lines), options.workers)
        )
        forms = [(name, each.shape, each.dtype) for name, each in self._writers.items()]
        self._arrays, self._ring_kind = arrays, (lines, options.allocate, forms)
        self._ring: Ring = deque()

    def _divide(self, pooled: int) -> int:
        """Give the budget to decoded chunks and to batches; return how many of these ahead."""
        batch = sum(self._lines * _bytes_of(writer) for writer in self._writers.values())
        budget = self._options.budget
        ahead = min(self._options.prefetch, (budget - pooled) // max(1, batch) - 1)
        if ahead < 0:
            raise OptionError(
                f"budget must hold a batch of {batch:,} bytes and decoded chunks of {pooled:,}, "
                f"got {budget:,}; try {pooled + 3 * batch}, a smaller batch_size or window_bytes"
            )
        self.pool.capacity = budget - (ahead + 1) * batch
        return ahead

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
        places = self._samples.places(slots)
        small = {name: _picked(values, places, given) for name, values in self._small.items()}
        batch = Batch(
            image=arrays[_IMAGE],
            label=_picked(self._labels, places, given),
            sample=places,
            valid=given & (self._status[places] == store.OK),
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
        allocate = self._options.allocate
        return {
            name: allocate((lines, *writer.shape), writer.dtype)
            for name, writer in self._writers.items()
        }


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
