"""Entries of the ledger that this process has written or read: the commit need not fetch them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROOM = 64 << 20  # bytes: the entries of about a million samples


class Shelf:
    """Entries by run and shard, as many as there is room for; safe in threads.

    What is not here is read from the store: nothing depends on it but requests. Nothing is kept
    for a call that is not open: a task that was given up may end after its run.
    """

    def __init__(self, room: int = _ROOM) -> None:
        self._lock = threading.Lock()
        self._room = room
        self._held: dict[str, dict[int, bytes]] = {}

    def open(self, call: str) -> None:
        """Keep entries for a call of a run until it is cleared."""
        with self._lock:
            self._held.setdefault(call, {})

    def keep(self, call: str, shard: int, content: bytes) -> None:
        """Keep the entry of a shard for a call that is open, if there is room for it."""
        with self._lock:
            held = self._held.get(call)
            if held is None:
                return
            self._room += len(held.pop(shard, b""))
            if len(content) <= self._room:
                self._room -= len(content)
                held[shard] = content

    def of(self, call: str, shards: Iterable[int]) -> dict[int, bytes]:
        """Return the entries of some shards, as far as they are here."""
        with self._lock:
            held = self._held.get(call, {})
            return {shard: held[shard] for shard in shards if shard in held}

    def clear(self, call: str) -> None:
        """Drop what is kept for a call, and keep no more."""
        with self._lock:
            self._room += sum(map(len, self._held.pop(call, {}).values()))


SHELF = Shelf()
