"""The cores that build shards: one with nothing to do helps with a shard that is another's.

A shard has one writer, but its pictures are independent of each other. Where fewer shards are
left than cores, as at the end of every run and throughout a small one, threads for those that
have none take pictures of a shard that somebody else is at.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Generic, TypeVar

from daskimg import fetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

Item = TypeVar("Item")
LetGo = Callable[[], None]

_LOOK = 0.01  # seconds between looks for a core with nothing to do
_TURN = 0.05  # seconds after which who helps asks whether the core is wanted by its own task
_PAUSE = 0.003  # seconds that it is left for that: a task without a core looks at each picture
_FOLDER = "daskimg-cores-"
_OLD = 2 * 86400  # seconds after which a folder is nobody's; a run that goes on only lacks help
_MOST = 8  # threads at one shard: more would spend their time waiting for the GIL


class Cores(ABC):
    """Counts the cores that are in use: by a task, or by a thread that helps one."""

    @abstractmethod
    def take(self) -> LetGo | None:
        """Take a core that has nothing to do, if there is one; return what gives it back."""


class OwnCores(Cores):
    """Those of one process.

    Parameters
    ----------
    count
        Its threads that build shards.
    """

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)

    def take(self) -> LetGo | None:
        """Take a core that has nothing to do, if there is one; return what gives it back."""
        return self._free.release if self._free.acquire(blocking=False) else None


class SharedCores(Cores):
    """Those of a machine, counted by all processes that build shards there.

    Who uses a core has locked its file: a process that dies lets go.

    Parameters
    ----------
    folder
        What ``laid_out`` yielded. Once it is gone, there are no cores to be had.
    """

    def __init__(self, folder: str) -> None:
        self._files = sorted(Path(folder).iterdir())

    @staticmethod
    @contextmanager
    def laid_out(count: int) -> Iterator[str | None]:
        """Yield a folder of as many cores while the context lasts; none where none can be."""
        try:
            folder = mkdtemp(prefix=_FOLDER)
        except OSError:  # nobody helps
            yield None
            return
        _sweep(Path(folder).parent)
        try:
            for number in range(count):
                Path(folder, str(number)).touch()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def take(self) -> LetGo | None:
        """Take a core that has nothing to do, if there is one; return what gives it back."""
        for file in self._files:
            try:
                descriptor = os.open(file, os.O_RDWR)
            except OSError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
            else:
                return partial(os.close, descriptor)
        return None


def _sweep(place: Path) -> None:
    """Remove what runs have left that were killed days ago."""
    for folder in place.glob(f"{_FOLDER}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _OLD:
                shutil.rmtree(folder, ignore_errors=True)


def share(
    items: Iterable[Item], cores: Cores, worker: Callable[[], Callable[[Item], object]]
) -> None:
    """Do something to each item, with the help of cores that have nothing else to do.

    Parameters
    ----------
    items
        Asked for one at a time, in order; items are done in any order.
    cores
        Those that may help. This thread works without one, too, but not for long.
    worker
        Called in each thread that takes part, whenever it begins to; returns what is done to
        an item there.

    Raises
    ------
    Exception
        The first one that doing something raised; no item is begun after it.
    """
    queue, helpers, do = _Queue(items), _Helpers(), worker()
    own, looked = cores.take(), 0.0
    try:
        for _ in queue.work(do):
            now = time.monotonic()
            if own is None:
                own = cores.take()
            elif now - looked >= _LOOK and helpers.wanted:
                looked, other = now, cores.take()
                if other and not helpers.begin(_help, queue, cores, other, worker):
                    other()
    finally:
        queue.close()
        if own:
            own()
        helpers.wait()
    queue.check()
    helpers.check()


def _help(
    queue: _Queue[Item],
    cores: Cores,
    let_go: LetGo | None,
    worker: Callable[[], Callable[[Item], object]],
) -> None:
    """Do items until there are none, or the core's own task has come."""
    try:
        while let_go and not queue.closed:
            try:
                _take_turn(queue, worker())
            finally:
                let_go()
            time.sleep(_PAUSE)
            let_go = cores.take()
        if let_go:
            let_go()
    except BaseException:
        queue.close()
        raise


def _take_turn(queue: _Queue[Item], do: Callable[[Item], object]) -> None:
    until = time.monotonic() + _TURN
    for _ in queue.work(do):
        if time.monotonic() >= until:
            return


class _Helpers:
    """The threads that help; there are none until one is asked for."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._begun: list[Future[None]] = []

    @property
    def wanted(self) -> bool:
        """Whether one more would be of use."""
        return sum(not each.done() for each in self._begun) < _MOST - 1

    def begin(self, task: Callable[..., None], *arguments: object) -> bool:
        """Have one more thread help; it is none where no thread can be started."""
        self._pool = self._pool or fetch.threads(_MOST, name="daskimg-helper")
        try:
            self._begun.append(self._pool.submit(task, *arguments))
        except RuntimeError:  # "can't start new thread": containers have few
            return False
        return True

    def wait(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def check(self) -> None:
        for helper in self._begun:
            helper.result()


class _Queue(Generic[Item]):
    """Hands each item to one of several threads, and keeps what went wrong with which."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = enumerate(items)
        self._lock = threading.Lock()
        self._begun = 0
        self._faults: dict[int, BaseException] = {}
        self.closed = False

    def work(self, do: Callable[[Item], object]) -> Iterator[None]:
        """Do something to one item after the other; yield after each."""
        while True:
            with self._lock:
                if self.closed:
                    return
                try:
                    place, item = next(self._items)
                except StopIteration:
                    self.closed = True
                    return
                except BaseException as error:
                    self._fail(self._begun, error)
                    return
                self._begun = place + 1
            try:
                do(item)
            except BaseException as error:
                self._fail(place, error)
                return
            yield

    def _fail(self, place: int, error: BaseException) -> None:
        self._faults[place] = error
        self.closed = True

    def close(self) -> None:
        """Hand out no more."""
        self.closed = True

    def check(self) -> None:
        """Raise what went wrong with the first item that something went wrong with.

        Items are begun in order, so that it is the same whoever helped.
        """
        if self._faults:
            raise self._faults[min(self._faults)]
