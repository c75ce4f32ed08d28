"""Pieces of arrays in memory, within a number of bytes: those that are needed next."""

from __future__ import annotations

from collections import Counter, OrderedDict
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    Key = tuple[str, int]


class Piece(NamedTuple):
    """Chunks that are read and decoded.

    Attributes
    ----------
    memory
        What keeps them.
    addresses : (chunk,) int64
        Where each begins.
    reusable
        Whether the memory is the pool's own, to be filled again.
    """

    memory: NDArray[np.uint8]
    addresses: NDArray[np.int64]
    reusable: bool = False


class Wish(NamedTuple):
    """A piece that is needed: its name, its bytes, and how it is had."""

    key: Key
    size: int
    load: Callable[[], Piece]


@dataclass(slots=True)
class _Held:
    future: Future[Piece]
    size: int
    begun: bool
    users: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether it is there, and nobody reads it."""
        return self.future.done() and not self.users


class Arrival:
    """Memory of a pool for what arrives, taken when it is asked for.

    Parameters
    ----------
    pool
        Whose it is.
    size
        Its bytes.
    """

    def __init__(self, pool: Pool, size: int) -> None:
        self._pool, self._size = pool, size
        self._memory: NDArray[np.uint8] | None = None

    def memory(self) -> NDArray[np.uint8]:
        """Return (size,) uint8, the same each time."""
        if self._memory is None:
            self._memory = self._pool.memory(self._size)
        return self._memory

    def become(self, piece: Piece) -> Piece:
        """Return the piece that came of it, which has the memory if it lies there."""
        if self._memory is None:
            return piece
        if np.may_share_memory(piece.memory, self._memory):
            return piece._replace(memory=self._memory, reusable=True)
        self._pool.put_back(self._memory)
        return piece

    def fail(self) -> None:
        """Do without the memory: who was interrupted knows not what still writes there."""
        if self._memory is not None:
            self._pool.write_off(self._size)


class Pool:
    """Pieces, up to a number of bytes. Every method is safe in threads.

    Pieces that batches to come have been announced to need are dropped last, and never for
    what is only read ahead; so each is loaded once, if the pool holds what an order needs. What
    no batch needs goes at once, as far as batches are known: its memory is still in the cache.

    Parameters
    ----------
    capacity
        Bytes.

    Attributes
    ----------
    loads, most
        How often a piece was loaded; the most bytes that were held.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held: OrderedDict[Key, _Held] = OrderedDict()  # the longest unused first
        self._wanted: Counter[Key] = Counter()
        self._wanted_bytes = 0
        self._bytes = 0
        self._spare: list[NDArray[np.uint8]] = []
        self._taken = 0  # bytes of memory that was given out and has not come back
        self._closed = False  # nothing is announced any more: what arrives is not held
        self._lock = Lock()
        self.loads = 0
        self.most = 0

    @contextmanager
    def lease(self, wishes: list[Wish]) -> Iterator[list[Piece]]:
        """Provide pieces, which stay as long; one thread loads each, others wait for it.

        What another asked for and has not begun to load is loaded here, rather than waited for.
        """
        with self._lock:
            taken = [self._take(wish) for wish in wishes]
        all_there = False
        try:
            for wish, held in zip(wishes, taken, strict=True):
                if not held.begun and self._begins(held):
                    _run(held.future, wish.load)
            # Only now, so that no two threads wait for each other.
            pieces = [held.future.result() for held in taken]
            all_there = True
            yield pieces
        finally:
            with self._lock:
                for wish, held in zip(wishes, taken, strict=True):
                    held.users -= 1
                    # What failed is loaded again if it is asked for again.
                    if self._closed or (not all_there and _failed(held.future)):
                        self._let_go(wish.key, held)

    def _take(self, wish: Wish) -> _Held:
        """Return a piece's place."""
        held = self._held.get(wish.key) or self._admit(wish, Future(), begun=False)
        self._held.move_to_end(wish.key)
        held.users += 1
        return held

    def _begins(self, held: _Held) -> bool:
        """Tell whether whoever asks is to load a piece: the first one who asks."""
        with self._lock:
            begun, held.begun = held.begun, True
        return not begun

    def ahead(self, wish: Wish, threads: Executor) -> bool:
        """Let a thread load a piece that is announced; return ``False`` if there is no room."""
        with self._lock:
            if wish.key in self._held or wish.key not in self._wanted:
                return True  # it is there, or was, and is needed no more
            if not self._make_room(wish.size, needed=False):
                return False
            self._admit(wish, threads.submit(wish.load), begun=True)
        return True

    def announce(self, wishes: list[Wish]) -> None:
        """Take note that a batch to come needs these."""
        with self._lock:
            self._closed = False
            for key, size, _ in wishes:
                self._wanted_bytes += 0 if self._wanted[key] else size
                self._wanted[key] += 1

    def renounce(self, wishes: list[Wish]) -> None:
        """Take note that a batch that was announced is over."""
        with self._lock:
            for key, size, _ in wishes:
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    known = not self.sated
                    del self._wanted[key]
                    self._wanted_bytes -= size
                    if known and key in self._held and self._held[key].is_idle:
                        self._drop(key)

    @property
    def sated(self) -> bool:
        """Whether what is announced fills it: looking further would be of no use."""
        return self._wanted_bytes >= self.capacity

    def memory(self, size: int) -> NDArray[np.uint8]:
        """Return (size,) uint8 to fill: a dropped piece's, if there is one.

        Pages that are new cost as much as filling them. It comes back as a piece that is
        reusable, by ``put_back``, or not: ``write_off``.
        """
        with self._lock:
            self._taken += size
            for number, spare in enumerate(self._spare):
                if len(spare) == size:
                    return self._spare.pop(number)
            while self._spare and self._taken + sum(map(len, self._spare)) > self.capacity:
                self._spare.pop()  # of another array, whose samples have another size
        return np.empty(size, np.uint8)

    def put_back(self, memory: NDArray[np.uint8]) -> None:
        """Take memory back that became no piece."""
        with self._lock:
            self._reuse(memory)

    def write_off(self, size: int) -> None:
        """Take note that memory does not come back: something may still write into it."""
        with self._lock:
            self._taken -= size

    def close(self) -> None:
        """Call off what no thread has begun to load, and drop what nobody reads.

        Whoever waits for what is called off is told. What is dropped may be a mapped file,
        which has a descriptor and a lock.
        """
        with self._lock:
            for key, held in list(self._held.items()):
                if held.future.cancel() or held.is_idle:
                    self._drop(key)
            under_way = list(self._held.items())
            self._wanted.clear()
            self._wanted_bytes = 0
            self._closed = True
        for key, held in under_way:  # outside of the lock: what is done calls at once
            held.future.add_done_callback(partial(self._arrived_late, key, held))

    def _arrived_late(self, key: Key, held: _Held, _: Future[Piece]) -> None:
        with self._lock:
            if self._closed:
                self._let_go(key, held)

    def _let_go(self, key: Key, held: _Held) -> None:
        """Drop a piece that nobody reads, unless it has gone."""
        if self._held.get(key) is held and (held.is_idle or _failed(held.future)):
            self._drop(key)

    def take_over(self, spare: list[NDArray[np.uint8]]) -> None:
        """Decode into memory that another pool left, as much as may be held."""
        with self._lock:
            for memory in spare:
                held = self._taken + sum(map(len, self._spare))
                if held + len(memory) <= self.capacity:
                    self._spare.append(memory)

    def emptied(self) -> list[NDArray[np.uint8]]:
        """Drop everything, and return the memory; nothing is read from it any more."""
        with self._lock:
            for key, held in list(self._held.items()):
                if held.is_idle:
                    self._drop(key)
            spare, self._spare = self._spare, []
        return spare

    def _admit(self, wish: Wish, future: Future[Piece], *, begun: bool) -> _Held:
        self._make_room(wish.size, needed=True)
        held = self._held[wish.key] = _Held(future, wish.size, begun)
        self._bytes += wish.size
        self.loads += 1
        self.most = max(self.most, self._bytes)
        return held

    def _make_room(self, size: int, *, needed: bool) -> bool:
        """Drop what nobody uses and nobody wants; if ``needed``, then also what is wanted."""
        for wanted in (False, True) if needed else (False,):
            for key, held in list(self._held.items()):
                if self._bytes + size <= self.capacity:
                    return True
                if held.is_idle and (key in self._wanted) is wanted:
                    self._drop(key)
        return self._bytes + size <= self.capacity

    def _drop(self, key: Key) -> None:
        held = self._held.pop(key)
        self._bytes -= held.size
        if not _failed(held.future) and held.future.result().reusable:
            self._reuse(held.future.result().memory)

    def _reuse(self, memory: NDArray[np.uint8]) -> None:
        self._taken -= len(memory)
        if not self._closed:
            self._spare.append(memory)


def _run(future: Future[Any], load: Callable[[], Any]) -> None:
    try:
        future.set_result(load())
    except BaseException as error:
        future.set_exception(error)


def _failed(future: Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
