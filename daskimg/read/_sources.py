"""Where the bytes of samples come from: mapped shards, or chunks that are decoded and kept."""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from daskimg.read._pool import Piece, Pool, Wish
from daskimg.store import open_sharded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from numpy.typing import NDArray

    from daskimg.read._cache import Cache
    from daskimg.store import Committed, Sharded

    Memory = NDArray[np.uint8]
    Ring = deque[dict[str, NDArray[Any]]]
    """Arrays of several batches, by name, the longest used first."""


class Run(NamedTuple):
    """Samples in memory that stays as it is until the next run is asked for.

    Attributes
    ----------
    addresses : (sample,) int64
        Where each sample begins; not to be written to.
    lines : (sample,) int64
        Where each is wanted.
    """

    addresses: NDArray[np.int64]
    lines: NDArray[np.int64]


class Source(Protocol):
    """Samples of one array; every method is safe in threads."""

    sharded: Sharded

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield where the samples of some slots lie; the slots rise."""


class Mapped:
    """An uncompressed array of local files: each shard is mapped once, and never read whole.

    Parameters
    ----------
    sharded
        The array.
    check
        Whether a chunk is compared with its crc32c before its first sample is handed out.
    """

    def __init__(self, sharded: Sharded, *, check: bool) -> None:
        self.sharded = sharded
        self._check = check
        self._shards: dict[int, tuple[Memory, NDArray[np.int64]]] = {}
        self._addresses = np.zeros(sharded.chunks, np.int64)
        self._seen = np.zeros(sharded.chunks, bool)
        self._lock = Lock()

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield where the samples of some slots lie, all at once; the slots rise."""
        chunks, places = np.divmod(slots, self.sharded.chunk)
        self._touch(chunks[~self._seen[chunks]])
        yield Run(self._addresses[chunks] + places * self.sharded.sample_bytes, lines)

    def _touch(self, chunks: NDArray[np.int64]) -> None:
        """Map the shards of chunks that are new, and check these chunks.

        Two threads may check one at once: they find the same.
        """
        each = self.sharded.shard // self.sharded.chunk
        for chunk in np.unique(chunks).tolist():
            shard, number = divmod(chunk, each)
            if shard not in self._shards:
                self._map(shard)
            memory, pairs = self._shards[shard]
            start, length = pairs[number].tolist()
            if self._check:
                self.sharded.check(chunk, memory[start : start + length])
            self._addresses[chunk] = memory.ctypes.data + start
            self._seen[chunk] = True  # last: from now on other threads rely on the address

    def _map(self, shard: int) -> None:
        with self._lock:  # addresses are of one map: another, let go, would take them along
            if shard not in self._shards:
                memory = self.sharded.content(shard)
                self._shards[shard] = memory, self.sharded.index(shard, memory)


class Pooled:
    """An array that is compressed or remote: chunks, or whole shards, held in a pool.

    Parameters
    ----------
    sharded
        The array.
    pool
        Of decoded memory, shared by the arrays of a reader; or of mapped files of the cache.
    check
        Whether chunks are compared with their crc32c as they are read.
    cache
        Where shards of a bucket are kept on this machine.
    """

    def __init__(
        self, sharded: Sharded, pool: Pool, *, check: bool, cache: Cache | None = None
    ) -> None:
        self.sharded = sharded
        self.pool = pool
        self._check = check
        self._cache = cache
        self._unit = sharded.unit
        self._unit_bytes = self._unit * sharded.sample_bytes

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield where the samples of some slots lie, piece by piece; the slots rise."""
        sharded = self.sharded
        for unit, part in _groups(slots // self._unit):
            with self.pool.lease(self._wish(unit)) as piece:
                chunks, places = np.divmod(slots[part] - unit * self._unit, sharded.chunk)
                yield Run(piece.addresses[chunks] + places * sharded.sample_bytes, lines[part])

    @property
    def is_as_read(self) -> bool:
        """Whether a piece is what was read, and no other memory."""
        return self.sharded.codec == "none" and self._cache is None

    def wishes(self, slots: NDArray[np.int64]) -> list[Wish]:
        """Return the pieces that some slots need."""
        return [self._wish(unit) for unit in np.unique(slots // self._unit).tolist()]

    def _wish(self, unit: int) -> Wish:
        load = partial(self._load, unit)
        return Wish((self.sharded.name, unit), self._unit_bytes, load)

    def _load(self, unit: int) -> Piece:
        """Return a piece, read and decoded."""
        sharded = self.sharded
        shard = unit * self._unit // sharded.shard
        first = unit * self._unit // sharded.chunk
        if self._cache is None:
            return self._piece(shard, first, sharded.content(shard), check=self._check)
        return self._cache.get(
            sharded.stamps[shard],
            partial(sharded.content, shard),
            # What lies in a cache is checked whatever is wished: others may have written there.
            lambda content, sound: self._piece(shard, first, content, check=not sound),
        )

    def _piece(self, shard: int, first: int, content: Memory, *, check: bool) -> Piece:
        """Return the chunks from ``first`` on, as many as are in a unit, of a shard's bytes."""
        sharded = self.sharded
        pairs = sharded.index(shard, content)
        start = first - shard * (sharded.shard // sharded.chunk)
        pairs = pairs[start : start + self._unit // sharded.chunk]
        parts = [content[begin : begin + length] for begin, length in pairs.tolist()]
        if sharded.codec == "none":
            for number, part in enumerate(parts):
                if check:
                    sharded.check(first + number, part)
            return Piece(content, content.ctypes.data + pairs[:, 0])
        memory, size = self.pool.memory(self._unit_bytes), sharded.chunk * sharded.sample_bytes
        try:
            for number, part in enumerate(parts):
                out = memory[number * size : (number + 1) * size]
                sharded.decode(first + number, part, out, check=check)
        except BaseException:
            self.pool.put_back(memory)
            raise
        return Piece(memory, memory.ctypes.data + np.arange(len(parts)) * size, reusable=True)


def _groups(numbers: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Yield each number of a rising array, and where it stands."""
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    for start, stop in pairwise(edges):
        if stop > start:
            yield int(numbers[start]), slice(start, stop)


class Arrays:
    """The sharded arrays of a store or a split: opened once, mapped once, for all epochs.

    Parameters
    ----------
    committed
        The store.
    split
        Which split, of a store that has splits.
    """

    def __init__(self, committed: Committed, split: str | None) -> None:
        self._committed = committed
        self._prefix = f"{split}/" if split else ""
        self._sharded: dict[str, Sharded | None] = {}
        self._mapped: dict[tuple[str, bool], Mapped] = {}
        self._caches: dict[tuple[str, int], Cache] = {}
        self._kept: tuple[object, Ring] | None = None

    def sharded(self, name: str) -> Sharded | None:
        """Return an array of the split, or ``None`` if it is one of the small ones."""
        if name not in self._sharded:
            self._sharded[name] = open_sharded(self._committed, self._prefix + name)
        return self._sharded[name]

    def cache(self, folder: str | PathLike[str], limit: int) -> Cache:
        """Return the cache in a folder of this machine: one for all epochs."""
        from daskimg.read._cache import Cache  # here: who reads disks needs none

        key = os.fspath(folder), limit
        if key not in self._caches:
            self._caches[key] = Cache(*key)
        return self._caches[key]

    def ring(self, kind: object) -> Ring:
        """Return memory of an epoch that is over, if it is of this kind; or else none."""
        kept, self._kept = self._kept, None
        return kept[1] if kept is not None and kept[0] == kind else deque()

    def keep(self, kind: object, ring: Ring) -> None:
        """Keep memory for the next epoch: new pages cost more than filling them."""
        self._kept = kind, ring

    def mapped(self, sharded: Sharded, *, check: bool) -> Mapped:
        """Return the samples of an array that can be mapped."""
        return self._mapped.setdefault((sharded.name, check), Mapped(sharded, check=check))
