"""Large things that the tasks of one process share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Thing = TypeVar("Thing")


class Kept(Generic[Thing]):
    """The last thing that several shards have a part of: made once a process.

    Its shards are neighbours, and are worked on at about the same time. Threads that want the
    same thing wait for it; those that want another do not come here often. It goes when all
    its parts were asked for, or another comes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._found: Thing | None = None
        self._left = 0

    def get(
        self,
        key: object,
        make: Callable[[], Thing],
        parts: int,
        total: int,
    ) -> Thing:
        """Return the thing, of which ``parts`` of ``total`` samples will be made."""
        with self._lock:
            found = self._found if key == self._key else None
            if found is None:
                self._key = self._found = None  # before the next one takes its own memory
                found = make()
                self._key, self._found, self._left = key, found, total
            self._left -= parts
            if self._left <= 0:
                self._key = self._found = None
            return found
