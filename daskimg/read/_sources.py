"""Where the bytes of samples come from: mapped shards, or chunks that are decoded and kept."""

from __future__ import annotations

from collections import OrderedDict, deque
from concurrent.futures import Future
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from daskimg.store import open_sharded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from daskimg.read._joined import JoinedSharded
    from daskimg.store import Committed, Sharded

    Memory = NDArray[np.uint8]
    Ring = deque[dict[str, NDArray[Any]]]
    """Arrays of several batches, by name, the longest used first."""


class AnyArrays(Protocol):
    """The sharded arrays of a store, or of several as one."""

    def sharded(self, name: str) -> Any:
        """Return an array, or ``None`` if it is one of the small ones."""

    def ring(self, kind: object) -> Ring:
        """Return memory of an epoch that is over, if it is of this kind; or else none."""

    def keep(self, kind: object, ring: Ring) -> None:
        """Keep memory for the next epoch."""

    def source(self, sharded: Any, pool: Pool, *, check: bool) -> Source:
        """Return an array's samples."""


class Run(NamedTuple):
    """Samples that lie in one piece of memory.

    Attributes
    ----------
    memory : (byte,) uint8
        Read-only.
    starts : (sample,) int64
        Where each sample begins.
    lines : (sample,) int64
        Where each is wanted.
    """

    memory: Memory
    starts: NDArray[np.int64]
    lines: NDArray[np.int64]


class Source(Protocol):
    """Samples of one array; every method is safe in threads."""

    @property
    def sharded(self) -> Sharded | JoinedSharded:
        """The array, or several as one."""

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
        self._memories: dict[int, Memory] = {}
        self._pairs = np.zeros((sharded.chunks, 2), np.int64)
        self._seen = np.zeros(sharded.chunks, bool)

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield where the samples of some slots lie, shard by shard; the slots rise."""
        sharded = self.sharded
        chunks, places = np.divmod(slots, sharded.chunk)
        self._touch(chunks[~self._seen[chunks]])
        starts = self._pairs[chunks, 0] + places * sharded.sample_bytes
        for shard, part in _groups(slots // sharded.shard):
            yield Run(self._memories[shard], starts[part], lines[part])

    def _touch(self, chunks: NDArray[np.int64]) -> None:
        """Map the shards of chunks that are new, and check these chunks.

        Two threads may do both at once: they find the same.
        """
        for chunk in np.unique(chunks).tolist():
            shard = chunk * self.sharded.chunk // self.sharded.shard
            if shard not in self._memories:
                self._map(shard)
            if self._check:
                start, length = self._pairs[chunk].tolist()
                self.sharded.check(chunk, self._memories[shard][start : start + length])
            self._seen[chunk] = True

    def _map(self, shard: int) -> None:
        memory = self.sharded.content(shard)
        pairs = self.sharded.index(shard, memory)
        first = shard * self.sharded.shard // self.sharded.chunk
        self._pairs[first : first + len(pairs)] = pairs
        self._memories[shard] = memory  # last: from now on other threads rely on the pairs


class Pool:
    """Decoded pieces of arrays, up to a number of bytes; the longest unused go first.

    Parameters
    ----------
    capacity
        Bytes. Pieces that a thread is copying from are kept alive by it beyond them.

    Attributes
    ----------
    loads, most
        How often a piece was loaded; the most bytes that were held.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held: OrderedDict[tuple[str, int], Future[Memory]] = OrderedDict()
        self._sizes: dict[tuple[str, int], int] = {}
        self._lock = Lock()
        self.loads = 0
        self.most = 0

    def get(self, key: tuple[str, int], size: int, load: Callable[[], Memory]) -> Memory:
        """Return a piece, loading it if it is not held; one thread loads, others wait for it."""
        with self._lock:
            future = self._held.get(key)
            if future is not None:
                self._held.move_to_end(key)
            else:
                mine: Future[Memory] = Future()
                self._admit(key, size, mine)
        if future is not None:
            return future.result()
        try:
            mine.set_result(load())
        except BaseException as error:
            with self._lock:
                self._drop(key)
            mine.set_exception(error)
            raise
        return mine.result()

    def _admit(self, key: tuple[str, int], size: int, future: Future[Memory]) -> None:
        held = sum(self._sizes.values())
        for old in [each for each, found in self._held.items() if found.done()]:
            if held + size <= self.capacity:
                break
            held -= self._sizes[old]
            self._drop(old)
        self._held[key], self._sizes[key] = future, size
        self.loads += 1
        self.most = max(self.most, held + size)

    def _drop(self, key: tuple[str, int]) -> None:
        del self._held[key], self._sizes[key]


class Pooled:
    """An array that is compressed or remote: chunks, or whole shards, decoded into a pool.

    Parameters
    ----------
    sharded
        The array.
    pool
        Shared by all arrays of a reader.
    check
        Whether chunks are compared with their crc32c as they are decoded.
    """

    def __init__(self, sharded: Sharded, pool: Pool, *, check: bool) -> None:
        self.sharded = sharded
        self._pool = pool
        self._check = check
        self._unit = sharded.unit
        self._name = f"{sharded.folder.url}/{sharded.name}"  # several stores may share a pool

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield where the samples of some slots lie, piece by piece; the slots rise."""
        size = self.sharded.sample_bytes
        for unit, part in _groups(slots // self._unit):
            key = (self._name, unit)
            memory = self._pool.get(key, self._unit * size, partial(self._load, unit))
            yield Run(memory, (slots[part] - unit * self._unit) * size, lines[part])

    def _load(self, unit: int) -> Memory:
        """Return the samples of a unit, one behind another."""
        sharded = self.sharded
        shard = unit * self._unit // sharded.shard
        content = sharded.content(shard)
        pairs = sharded.index(shard, content)
        first = shard * sharded.shard // sharded.chunk
        if sharded.local:
            return self._decoded(unit, content, pairs[unit - first])
        pieces = [self._decoded(first + i, content, pair) for i, pair in enumerate(pairs)]
        whole = np.concatenate(pieces)
        whole.flags.writeable = False
        return whole

    def _decoded(self, chunk: int, content: Memory, pair: NDArray[np.int64]) -> Memory:
        start, length = pair.tolist()
        encoded = content[start : start + length]
        return self.sharded.decoded(chunk, encoded, check=self._check)


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
        self._kept: tuple[object, Ring] | None = None

    def sharded(self, name: str) -> Sharded | None:
        """Return an array of the split, or ``None`` if it is one of the small ones."""
        if name not in self._sharded:
            self._sharded[name] = open_sharded(self._committed, self._prefix + name)
        return self._sharded[name]

    def ring(self, kind: object) -> Ring:
        """Return memory of an epoch that is over, if it is of this kind; or else none."""
        kept, self._kept = self._kept, None
        return kept[1] if kept is not None and kept[0] == kind else deque()

    def keep(self, kind: object, ring: Ring) -> None:
        """Keep memory for the next epoch: new pages cost more than filling them."""
        self._kept = kind, ring

    def source(self, sharded: Sharded, pool: Pool, *, check: bool) -> Source:
        """Return an array's samples: mapped where they can be, or else through a pool."""
        if not sharded.mappable:
            return Pooled(sharded, pool, check=check)
        return self._mapped.setdefault((sharded.name, check), Mapped(sharded, check=check))
