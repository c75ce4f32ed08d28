"""A finished store in another place: every object's hash checked on the way, the commit last."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskimg import fetch, store
from daskimg.errors import OptionError, StoppedError, StoreError, TransportError
from daskimg.options import whole
from daskimg.words import counted, megabytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike

    from daskimg.fetch import Folder, Traffic

_ROOT = "zarr.json"  # what makes the objects a store to Zarr's readers
_AGAIN = "run the same command again to go on"


@dataclass(frozen=True, slots=True)
class Copy:
    """What a copy did.

    Attributes
    ----------
    source, url
        The store, and where it is now, too.
    objects, bytes
        What was copied.
    kept
        Objects that were there already, whole: an earlier copy had been stopped.
    traffic
        What was asked of servers: requests by kind, repetitions by fault, bytes.
    """

    source: str
    url: str
    objects: int
    bytes: int
    kept: int
    traffic: Traffic

    def lines(self) -> list[str]:
        """Return the summary, for people."""
        there = f", {self.kept:,} were there" if self.kept else ""
        done = f"copied: {counted(self.objects, 'object')}, {megabytes(self.bytes)}{there}"
        in_cloud = any(fetch.bucket_of(each) for each in (self.source, self.url))
        return [done, *self.traffic.lines(classes=in_cloud), f"  {fetch.shown(self.url)}"]

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain data."""
        found = {name: getattr(self, name) for name in self.__slots__ if name != "traffic"}
        return {
            **found,
            "source": fetch.shown(self.source),
            "url": fetch.shown(self.url),
            **self.traffic.summary(),
            "class_a": self.traffic.class_a,
            "class_b": self.traffic.class_b,
        }

    def __repr__(self) -> str:
        return "\n".join(self.lines())


def copy_store(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    threads: int = 8,
    max_bytes: int = 1 << 28,
    on_objects: Callable[[int, int], None] | None = None,
) -> Copy:
    """Copy a finished store between disks and buckets, or go on with a copy that was stopped.

    Each object is read, its sha256 compared with the last commit, and written whole; within
    Google's storage it is not sent there again, but copied by the server, whose crc32c is
    compared with that of what was read. Metadata comes last, then the commits: until then no
    reader finds a store at ``target``. What an earlier copy has left there is read and kept if
    it is right.

    Parameters
    ----------
    source
        A finished store: of an unfinished one nothing could be compared.
    target
        A new or empty folder, a local path or a URL.
    threads
        Objects under way at once.
    max_bytes
        The most that objects under way hold together, though one always is.
    on_objects
        Called with the number of objects that are done, and of all.

    Raises
    ------
    StoreError
        If there is no finished store, or something else at ``target``; nothing was written.
    StoppedError
        If an object is not what was committed, or cannot be read or written; run it again.
    """
    whole("threads", threads, "try 8")
    whole("max_bytes", max_bytes, "or leave it out")
    fetch.traffic(reset=True)  # what was asked before is no part of the copy
    places = [str(fetch.open_folder(str(place)).url) for place in (source, target)]
    if places[0] == places[1]:
        raise OptionError(f"source and target are the same store, {fetch.shown(places[0])}")
    if any(f"{one}/".startswith(f"{other}/") for one, other in (places, places[::-1])):
        raise OptionError(
            f"{fetch.shown(places[1])} and {fetch.shown(places[0])} lie one in the other; name a "
            f"folder beside the store"
        )
    folder, commit = store.find_commit(places[0])
    fetch.check_access(places[1], fetch.STORE)
    copying = _Copying(folder, fetch.open_folder(places[1]), commit, on_objects or _silent)
    copying.check_target()
    try:
        return copying.run(threads, max_bytes)
    except (OSError, TransportError) as error:
        raise StoppedError(f"{error}; {_AGAIN}") from error


def _silent(done: int, total: int) -> None:
    """Tell nobody."""


class _Copying:
    """One copy of one commit."""

    def __init__(
        self,
        source: Folder,
        target: Folder,
        commit: store.Commit,
        on_objects: Callable[[int, int], None],
    ) -> None:
        self._source = source
        self._target = target
        self._commit = commit
        self._on_objects = on_objects
        self._there: dict[str, int] = {}
        self._is_old = False
        self._done = self._bytes = self._kept = 0

    def check_target(self) -> None:
        """Refuse a place where anything but this store, or a part of its copy, is."""
        url = fetch.shown(self._target.url)
        state = store.state_of(self._target)
        if state == "foreign":
            raise StoreError(f"{url} holds other files; name a folder that is new or empty")
        self._there = self._target.sizes() if state != "empty" else {}
        if state == "empty":
            return
        if store.read_plan(self._target).run != store.read_plan(self._source).run:
            raise StoreError(f"{url} holds another store; name a folder that is new or empty")
        there = store.last_commit(self._target)
        if there and there.number > self._commit.number:
            raise StoreError(f"{url} holds a later state of this store; copy the other way")
        for name in self._others():
            if name in self._there and not _is_replaced(name):
                self._refuse_other(name, self._source.read(name))
        self._is_old = there is not None and there != self._commit

    def run(self, threads: int, max_bytes: int) -> Copy:
        """Copy the plan, which says whose it is, then all else, and the commits last."""
        if self._is_old:
            self._target.remove(_ROOT)  # no reader is to meet new numbers and old names
            self._there.pop(_ROOT, None)
        rest = set(self._commit.objects) - {store.PLAN, _ROOT}
        others = self._others()
        total = len(self._commit.objects) + len(others)
        self._objects([store.PLAN], 1, max_bytes, total)
        self._objects(sorted(rest), threads, max_bytes, total)
        self._objects([_ROOT], 1, max_bytes, total)
        for name in others:
            self._note(self._create(name), total)
        return Copy(
            source=self._source.url,
            url=self._target.url,
            objects=self._done - self._kept,
            bytes=self._bytes,
            kept=self._kept,
            traffic=fetch.traffic(reset=True),
        )

    def _others(self) -> list[str]:
        """Return what no commit lists: verdicts, accounts of runs; and the commits, last."""
        found = sorted(self._source.sizes(store.RECORDS))
        left = [
            name
            for name in found
            if name not in self._commit.objects and not name.startswith(f"{store.INPUT}/")
        ]
        return sorted(left, key=lambda name: (name.startswith(f"{store.COMMITS}/"), name))

    def _objects(self, names: Iterable[str], threads: int, max_bytes: int, total: int) -> None:
        room = _Room(max_bytes)
        with fetch.threads(threads, "daskimg-copy") as pool:
            waiting = deque(pool.submit(self._copy, name, room) for name in names)
            try:
                while waiting:
                    self._note(waiting.popleft().result(), total)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _note(self, copied: int | None, total: int) -> None:
        self._done += 1
        self._kept += copied is None
        self._bytes += copied or 0
        self._on_objects(self._done, total)

    def _copy(self, name: str, room: _Room) -> int | None:
        """Copy an object; return its bytes, or ``None`` if it was there."""
        size, digest = self._commit.objects[name]
        with room.taken(size):
            if self._there.get(name) == size and _digest(self._target, name) == digest:
                return None
            content = self._source.read(name)
            if store.content_hash(content) != digest:
                raise StoppedError(
                    f"{name} of {fetch.shown(self._source.url)} is not what was committed; repair "
                    f"that store by the command that built it, then {_AGAIN}"
                )
            fetch.put_copy(self._source, self._target, name, content)
        return size

    def _create(self, name: str) -> int | None:
        content = self._source.read(name)
        if self._target.create(name, content):
            return len(content)
        if not _is_replaced(name):
            self._refuse_other(name, content)
        elif self._target.read(name) != content:
            self._target.put(name, content)
            return len(content)
        return None

    def _refuse_other(self, name: str, content: bytes) -> None:
        """Refuse a target that has gone on by itself: it holds what is to be written, or not."""
        if self._target.read(name) != content:
            raise StoreError(
                f"{fetch.shown(self._target.url)} has another {name}; name a folder that is "
                f"new or empty"
            )


def _is_replaced(name: str) -> bool:
    """Tell what a run writes again from what, once written, stays as it is."""
    return name.startswith(f"{store.VERDICTS}/")


def _digest(folder: Folder, name: str) -> str:
    return store.content_hash(folder.read(name))


class _Room:
    """Memory for objects under way: so many bytes, though one object always has its place."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Wait until there is room for ``size`` bytes, and take it for a while."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._most)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()
