"""The threads of a worker that build shards: one with nothing to do helps another.

A shard has one writer, but its pictures are independent of each other. Where fewer shards are
left than threads, as at the end of every run and throughout a small one, those that have none
take pictures of a shard that somebody else is at.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from daskimg import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

Item = TypeVar("Item")


class Hands:
    """Counts who is at work among the threads of a worker.

    Parameters
    ----------
    threads
        How many the worker has.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._busy = 0
        self._lock = threading.Lock()

    @property
    def free(self) -> bool:
        """Whether a thread has nothing to do."""
        return self._busy < self._threads

    @property
    def crowded(self) -> bool:
        """Whether more are at work than there are threads: who only helps should leave."""
        return self._busy > self._threads

    def take(self) -> bool:
        """Have a thread begin to help, if one has nothing to do."""
        with self._lock:
            taken = self.free
            self._busy += taken
        return taken

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count this thread as busy."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Count one thread less."""
        with self._lock:
            self._busy -= 1


def share(
    items: Iterable[Item], hands: Hands, worker: Callable[[], Callable[[Item], object]]
) -> None:
    """Do something to each item, with the help of threads that have nothing else to do.

    Parameters
    ----------
    items
        Asked for one at a time, in order; items are done in any order.
    hands
        The threads.
    worker
        Called once in each thread that takes part; returns what is done to an item there.

    Raises
    ------
    Exception
        The first one that doing something raised; no item is begun after it.
    """
    queue, helpers = _Queue(items), _Helpers()
    do = worker()
    try:
        with hands.at_work():
            for item in queue:
                do(item)
                if hands.free and hands.take():
                    helpers.begin(_help, queue, hands, worker)
    finally:
        queue.close()
        helpers.wait()
    helpers.check()


def _help(
    queue: _Queue[Item], hands: Hands, worker: Callable[[], Callable[[Item], object]]
) -> None:
    try:
        do = worker()
        for item in queue:
            do(item)
            if hands.crowded:  # a task has begun: the thread is its own
                return
    except BaseException:
        queue.close()
        raise
    finally:
        hands.let_go()


class _Helpers:
    """The threads that have helped; there are none until one is asked for."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._begun: list[Future[None]] = []

    def begin(self, task: Callable[..., None], *arguments: object) -> None:
        self._pool = self._pool or fetch.threads(name="daskimg-helper")
        self._begun.append(self._pool.submit(task, *arguments))

    def wait(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def check(self) -> None:
        for helper in self._begun:
            helper.result()


class _Queue(Generic[Item]):
    """Hands each item to one of several threads."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._lock:
                if self._closed:
                    return
                try:
                    item = next(self._items)
                except StopIteration:
                    self._closed = True
                    return
                except BaseException:
                    self._closed = True
                    raise
            yield item

    def close(self) -> None:
        """Hand out no more."""
        self._closed = True
