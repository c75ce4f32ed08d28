"""Where the bytes of samples come from: mapped shards, or chunks that are decoded and kept."""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from daskimg.read._pool import Arrival, Piece, Pool, Wish
from daskimg.store import open_sharded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from daskimg.read._cache import Cache
    from daskimg.read._joined import JoinedSharded
    from daskimg.read._options import Effort
    from daskimg.store import Committed, Sharded

    Memory = NDArray[np.uint8]
    Ring = deque[dict[str, NDArray[Any]]]
    """Arrays of several batches, by name, the longest used first."""


_TOGETHER = 64  # pieces of a pool that a thread holds at once


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


class Looked(Protocol):
    """An array that is read through a pool: what is asked of it ahead."""

    @property
    def sharded(self) -> Sharded:
        """The array."""

    @property
    def pool(self) -> Pool:
        """Where its pieces are held."""

    @property
    def is_as_read(self) -> bool:
        """Whether a piece is what was read, and no other memory."""

    def wishes(self, slots: NDArray[np.int64]) -> list[Wish]:
        """Return the pieces that some slots need."""


class AnyArrays(Protocol):
    """The sharded arrays of a store, or of several as one."""

    def sharded(self, name: str) -> Any:
        """Return an array, or ``None`` if it is one of the small ones."""

    def memories(self, kind: object) -> Memories:
        """Return memory of an epoch that is over, if it is of this kind; or else none."""

    def keep(self, kind: object, memories: Memories) -> None:
        """Keep memory for the next epoch."""

    def source(self, sharded: Any, pool: Pool, effort: Effort) -> Source:
        """Return an array's samples."""


class Source(Protocol):
    """Samples of one array; every method is safe in threads."""

    @property
    def sharded(self) -> Sharded | JoinedSharded:
        """The array, or several as one."""

    @property
    def pooled(self) -> Sequence[Looked]:
        """What is read through a pool, and may be read ahead."""

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield where the samples of some slots lie; the slots rise."""


class Maps:
    """The files of a local array, each mapped once: new maps cost as much as decoding.

    Attributes
    ----------
    sound : (chunk,) bool
        Which chunks have been compared with their crc32c.
    """

    def __init__(self, sharded: Sharded) -> None:
        self.sharded = sharded
        self.sound = np.zeros(sharded.chunks, bool)
        self._shards: dict[int, tuple[Memory, NDArray[np.int64]]] = {}

    def get(self, shard: int) -> tuple[Memory, NDArray[np.int64]]:
        """Return a shard's content, and (chunk, 2) where each chunk begins and its bytes."""
        found = self._shards.get(shard)
        if found is None:
            memory = self.sharded.mapped(shard)
            # Of two threads both have the first one's: addresses are of one map.
            found = self._shards.setdefault(shard, (memory, self.sharded.index(shard, memory)))
        return found


class Mapped:
    """An uncompressed array of local files: each shard is mapped once, and never read whole.

    Parameters
    ----------
    maps
        Of the array.
    check
        Whether a chunk is compared with its crc32c before its first sample is handed out.
    """

    def __init__(self, maps: Maps, *, check: bool) -> None:
        self.sharded = maps.sharded
        self._maps = maps
        self._check = check
        self._addresses = np.zeros(self.sharded.chunks, np.int64)
        self._seen = np.zeros(self.sharded.chunks, bool)

    @property
    def pooled(self) -> tuple[()]:
        """Nothing is read ahead: the system does."""
        return ()

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield where the samples of some slots lie, all at once; the slots rise."""
        chunks, places = np.divmod(slots, self.sharded.chunk)
        self._touch(chunks[~self._seen[chunks]])
        yield Run(self._addresses[chunks] + places * self.sharded.sample_bytes, lines)

    def _touch(self, chunks: NDArray[np.int64]) -> None:
        """Map the shards of chunks that are new, and check these chunks.

        Two threads may check one at once: they find the same.
        """
        if not len(chunks):
            return
        each, chunks = self.sharded.chunks_per_shard, np.unique(chunks)
        for shard in np.unique(chunks[self._addresses[chunks] == 0] // each).tolist():
            memory, pairs = self._maps.get(shard)
            first = shard * each
            self._addresses[first : first + len(pairs)] = memory.ctypes.data + pairs[:, 0]
        if self._check:
            fresh = chunks[~self._maps.sound[chunks]]
            self.sharded.check(fresh, self._addresses[fresh], self.sharded.plain_bytes)
            self._maps.sound[fresh] = True
        self._seen[chunks] = True  # last: from now on other threads rely on the address


class Pooled:
    """An array that is compressed or remote: chunks, or whole shards, held in a pool.

    Parameters
    ----------
    sharded
        The array.
    pool
        Of what is decoded or has arrived, shared by the arrays of a reader; or of mapped files
        of the cache.
    check
        Whether chunks are compared with their crc32c: those of files as they are read for the
        first time, those of requests each time.
    kept
        Where shards lie on this machine: the maps of a local array, or the cache; if nowhere,
        they are read when they are needed.
    """

    def __init__(
        self, sharded: Sharded, pool: Pool, *, check: bool, kept: Maps | Cache | None = None
    ) -> None:
        self.sharded = sharded
        self.pool = pool
        self._check = check
        self._kept = kept
        self._unit = sharded.unit
        self._unit_bytes = self._unit * sharded.sample_bytes
        self._name = f"{sharded.folder.url}/{sharded.name}"  # several stores may share a pool

    @property
    def pooled(self) -> tuple[Looked]:
        """Itself."""
        return (self,)

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield where the samples of some slots lie, several pieces at once; the slots rise."""
        units = np.unique(slots // self._unit)
        # One by one costs as much as copying; all at once may be more than the pool holds.
        step = max(1, min(_TOGETHER, self.pool.capacity // (16 * self._unit_bytes)))
        edges = np.searchsorted(slots, units[::step] * self._unit).tolist()
        for number, part in enumerate(map(slice, edges, [*edges[1:], len(slots)])):
            some = units[number * step : (number + 1) * step]
            with self.pool.lease([self._wish(unit) for unit in some.tolist()]) as pieces:
                yield Run(self._addresses(slots[part], some, pieces), lines[part])

    def _addresses(
        self, slots: NDArray[np.int64], units: NDArray[np.int64], pieces: list[Piece]
    ) -> NDArray[np.int64]:
        """Return where samples lie in the pieces of some units."""
        counts = [len(piece.addresses) for piece in pieces]
        starts = np.cumsum([0, *counts[:-1]])[np.searchsorted(units, slots // self._unit)]
        chunks, places = np.divmod(slots % self._unit, self.sharded.chunk)
        addresses = np.concatenate([piece.addresses for piece in pieces])
        found: NDArray[np.int64] = addresses[starts + chunks] + places * self.sharded.sample_bytes
        return found

    @property
    def is_as_read(self) -> bool:
        """Whether a piece is what was read, and no other memory."""
        return self.sharded.codec == "none" and self._kept is None

    def wishes(self, slots: NDArray[np.int64]) -> list[Wish]:
        """Return the pieces that some slots need."""
        return [self._wish(unit) for unit in np.unique(slots // self._unit).tolist()]

    def _wish(self, unit: int) -> Wish:
        load = partial(self._load, unit)
        return Wish((self._name, unit), self._unit_bytes, load)

    def _load(self, unit: int) -> Piece:
        """Return a piece, read and decoded."""
        if isinstance(self._kept, Maps):
            return self._from_file(unit, self._kept)
        arrival = Arrival(self.pool, self.sharded.largest)
        try:
            return arrival.become(self._from_bucket(unit, self._kept, arrival))
        except BaseException:
            arrival.fail()
            raise

    def _from_file(self, chunk: int, maps: Maps) -> Piece:
        """Return a chunk, which is a unit of its own there."""
        shard, number = divmod(chunk, self.sharded.chunks_per_shard)
        content, pairs = maps.get(shard)
        pairs = pairs[number : number + 1]
        if self._check and not maps.sound[chunk]:
            self.sharded.check_within(chunk, content, pairs)
            maps.sound[chunk] = True
        return self._piece(chunk, content, pairs)

    def _from_bucket(self, shard: int, cache: Cache | None, arrival: Arrival) -> Piece:
        """Return a shard, which is a unit of its own there."""
        sharded, first = self.sharded, shard * self.sharded.chunks_per_shard
        # What lies in a cache is checked whatever is wished: others may have written there.
        check = self._check or cache is not None

        def fetch() -> Memory:
            return sharded.received(shard, arrival.memory, check=check)

        def use(content: Memory, sound: bool) -> Piece:
            pairs = sharded.index(shard, content)
            if not sound:
                sharded.check_within(first, content, pairs)
            return self._piece(first, content, pairs)

        if cache is None:
            return use(fetch(), True)
        return cache.get(sharded.stamps[shard], fetch, use)

    def _piece(self, first: int, content: Memory, pairs: NDArray[np.int64]) -> Piece:
        """Return chunks of a shard's bytes, from number ``first`` on, decoded."""
        sharded = self.sharded
        if sharded.codec == "none":
            return Piece(content, content.ctypes.data + pairs[:, 0])
        memory, size = self.pool.memory(self._unit_bytes), sharded.chunk * sharded.sample_bytes
        try:
            for number, (begin, length) in enumerate(pairs.tolist()):
                out = memory[number * size : (number + 1) * size]
                sharded.decode(first + number, content[begin : begin + length], out)
        except BaseException:
            self.pool.put_back(memory)
            raise
        return Piece(memory, memory.ctypes.data + np.arange(len(pairs)) * size, reusable=True)


class Memories(NamedTuple):
    """What an epoch leaves to the next: its ring of batches, and what it decoded into."""

    ring: Ring
    pool: list[Memory]


class Keeper:
    """Keeps memory from one epoch to the next: new pages cost more than filling them."""

    _left: tuple[object, Memories] | None = None

    def memories(self, kind: object) -> Memories:
        """Return memory of an epoch that is over, if it is of this kind; or else none."""
        left, self._left = self._left, None
        return left[1] if left is not None and left[0] == kind else Memories(deque(), [])

    def keep(self, kind: object, memories: Memories) -> None:
        """Keep memory for the next epoch."""
        self._left = kind, memories


class Arrays(Keeper):
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
        self._maps: dict[str, Maps] = {}
        self._mapped: dict[tuple[str, bool], Mapped] = {}
        self._caches: dict[tuple[str, int], Cache] = {}

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

    def maps(self, sharded: Sharded) -> Maps:
        """Return the files of a local array."""
        return self._maps.setdefault(sharded.name, Maps(sharded))

    def source(self, sharded: Sharded, pool: Pool, effort: Effort) -> Mapped | Pooled:
        """Return an array's samples: mapped where they can be, or else through a pool."""
        check = effort.check == "first"
        if sharded.mappable:
            key = sharded.name, check
            return self._mapped.setdefault(key, Mapped(self.maps(sharded), check=check))
        if sharded.local:
            return Pooled(sharded, pool, check=check, kept=self.maps(sharded))
        if effort.cache is None:
            return Pooled(sharded, pool, check=check)
        cache = self.cache(effort.cache, effort.cache_bytes)
        own = Pool(cache.room(sharded)) if sharded.codec == "none" else pool
        return Pooled(sharded, own, check=check, kept=cache)
