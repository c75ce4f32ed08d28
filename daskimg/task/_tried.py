"""What a trial has read, for the first task of the same run in the same process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from daskimg.errors import SampleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskimg.fetch import Found

_ROOM = 64 << 20  # bytes; a table in which nothing works is refused after a hundred rows


class Tried:
    """Sources of the last run that was tried here, each until it is taken; safe in threads."""

    def __init__(self, room: int = _ROOM) -> None:
        self._lock = threading.Lock()
        self._room = room
        self._run = ""
        self._held: dict[str, Found] = {}
        self._bytes = 0

    def kept(self, run: str, places: Iterable[str], found: Iterator[Found]) -> Iterator[Found]:
        """Yield what was found at each place, and keep it for a run."""
        with self._lock:
            if run != self._run:
                self._run, self._bytes = run, 0
                self._held.clear()
        for place, each in zip(places, found, strict=True):
            size = 0 if isinstance(each.content, SampleError) else len(each.content)
            with self._lock:
                if run == self._run and self._bytes + size <= self._room:
                    self._bytes += size
                    self._held[place] = each
            yield each

    def take(self, run: str, places: Iterable[str]) -> dict[str, Found]:
        """Return what was kept for a run of some places, and keep it no longer."""
        with self._lock:
            if run != self._run or not self._held:
                return {}
            return {place: self._held.pop(place) for place in places if place in self._held}

    def clear(self, run: str) -> None:
        """Drop what is left of a run: what no task of its has come for."""
        with self._lock:
            if run == self._run:
                self._run, self._bytes = "", 0
                self._held.clear()


TRIED = Tried()
