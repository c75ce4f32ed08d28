"""Reading ahead: remote sources in the order asked for, many on their way at once."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from daskimg.errors import SampleError
from daskimg.fetch._budget import BUDGET
from daskimg.fetch._owners import threads
from daskimg.fetch._paths import extended, is_remote, place_of
from daskimg.fetch._sources import (
    no_path,
    read,
    read_remote,
    still_missing,
    under_extensions,
    with_extensions,
)
from daskimg.fetch._systems import start
from daskimg.options import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    from daskimg.fetch._budget import Share

Outcome = TypeVar("Outcome")

IN_FLIGHT = 128
"""Remote objects of one reader on their way at once: hides 200 ms a GET behind 2 ms of decoding.

All readers of a process together stay within ``Options.objects_ahead`` and ``bytes_ahead``.
"""

_THREADS = 32
_MOST_LOCAL = 4096  # names of local files that wait behind a remote one
_PART = 1 << 16  # bytes that an answer is taken to have where a caller reads what it likes


class Found(NamedTuple):
    """What one source held, and what had to be put behind its name for it to be found."""

    content: bytes | SampleError
    extension: str


def read_ahead(
    locations: Iterable[str], max_bytes: int = MAX_BYTES, extensions: Sequence[str] = ()
) -> Iterator[bytes | SampleError]:
    """Yield each source's bytes, or what is wrong with it, in the order of ``locations``.

    Remote sources are fetched ahead of the one being decoded, as far as the budget of this
    process goes. Local ones are read when their turn comes: the page cache is faster than a
    thread switch.
    """
    for found in find_ahead(locations, max_bytes, extensions):
        yield found.content


def find_ahead(
    locations: Iterable[str],
    max_bytes: int = MAX_BYTES,
    extensions: Sequence[str] = (),
    *,
    whole: bool = False,
) -> Iterator[Found]:
    """Yield what ``read_ahead`` does, and the extension that each source was found under.

    Parameters
    ----------
    locations
        Where the sources are.
    max_bytes
        The most that a source may hold.
    extensions
        What to put behind a location where there is nothing, in this order, as ``.jpg``. They
        cost nothing where the file is there.
    whole
        Whether all of them will be used: as many as may be are asked for from the beginning.
    """
    now = partial(_found, max_bytes=max_bytes, extensions=extensions)
    with _threads(_THREADS) as pool:

        def later(location: str) -> Future[Found]:
            if place_of(location):  # its archive may have to be listed: that is no coroutine
                return pool().submit(now, location)
            return start(_found_remote(location, max_bytes, extensions))

        with BUDGET.share(IN_FLIGHT, eager=whole) as share:
            yield from _Queue(now, later, share, _weight).outcomes(locations)


def in_order(
    call: Callable[[str], Outcome], locations: Iterable[str], in_flight: int = IN_FLIGHT
) -> Iterator[Outcome]:
    """Yield ``call`` of each location, in their order; remote ones up to ``in_flight`` ahead.

    ``call`` is taken to need 64 KiB of a source.
    """
    with _threads(in_flight) as pool, BUDGET.share(in_flight, _PART) as share:

        def later(location: str) -> Future[Outcome]:
            return pool().submit(call, location)

        yield from _Queue(call, later, share, lambda _outcome: _PART).outcomes(locations)


class _Queue(Generic[Outcome]):
    """Sources in their order: remote ones under way, local ones by name."""

    def __init__(
        self,
        now: Callable[[str], Outcome],
        later: Callable[[str], Future[Outcome]],
        share: Share,
        weight: Callable[[Outcome], int],
    ) -> None:
        self._now = now
        self._later = later
        self._share = share
        self._weight = weight
        self._waiting: deque[_Asked[Outcome] | str] = deque()
        self._remote = 0

    def outcomes(self, locations: Iterable[str]) -> Iterator[Outcome]:
        try:
            for location in locations:
                self._ask(location)
                while self._waiting and self._is_full():
                    yield self._next()
            while self._waiting:
                yield self._next()
        finally:
            for each in self._waiting:
                if isinstance(each, _Asked):
                    each.future.cancel()

    def _ask(self, location: str) -> None:
        if not is_remote(location):
            self._waiting.append(location)
            return
        self._remote += 1
        self._waiting.append(_Asked(self._later(location), self._share, self._weight))

    def _is_full(self) -> bool:
        if not self._remote:
            return True
        return len(self._waiting) > _MOST_LOCAL or not self._share.has_room()

    def _next(self) -> Outcome:
        first = self._waiting.popleft()
        if isinstance(first, str):
            return self._now(first)
        self._remote -= 1
        return first.outcome()


class _Asked(Generic[Outcome]):
    """An object on its way, and the part of the budget that it takes."""

    def __init__(
        self, future: Future[Outcome], share: Share, weight: Callable[[Outcome], int]
    ) -> None:
        self.future = future
        self._share = share
        self._weight = weight
        self._taken = share.take()
        future.add_done_callback(self._settle)

    def outcome(self) -> Outcome:
        try:
            return self.future.result()
        finally:
            self._share.give(self._taken)

    def _settle(self, future: Future[Outcome]) -> None:
        if future.cancelled() or future.exception():
            return
        self._share.settle(self._taken, self._weight(future.result()))


@contextmanager
def _threads(most: int) -> Iterator[Callable[[], ThreadPoolExecutor]]:
    """Provide threads to whoever asks; a table of local files needs none."""
    pool: list[ThreadPoolExecutor] = []

    def once() -> ThreadPoolExecutor:
        if not pool:
            pool.append(threads(most, "daskimg-fetch"))
        return pool[0]

    try:
        yield once
    finally:
        for each in pool:
            each.shutdown(wait=False, cancel_futures=True)


def _found(location: str, max_bytes: int, extensions: Sequence[str]) -> Found:
    try:
        return Found(*under_extensions(partial(read, max_bytes=max_bytes), location, extensions))
    except SampleError as error:
        return Found(error, "")


async def _found_remote(location: str, max_bytes: int, extensions: Sequence[str]) -> Found:
    """Return what ``_found`` does, on the loop."""
    missing = no_path()
    try:
        for extension in ("", *extensions):
            try:
                whole = await read_remote(extended(location, extension), None, None, max_bytes)
                return Found(whole, extension)
            except SampleError as error:
                missing = still_missing(error)
    except SampleError as error:
        return Found(error, "")
    return Found(with_extensions(missing, location, extensions), "")


def _weight(found: Found) -> int:
    return len(found.content) if isinstance(found.content, bytes) else 0
