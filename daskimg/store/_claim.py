"""A run's right to write to a store: it ends when another run takes the store over.

What protects a store from stragglers of an overwritten run is that objects are created, not
put: where one is already, it is only replaced by a run whose plan the store holds, and only that
writing of it which was there before the plan was read. So a writer may be frozen
at any point, for any time, and no question has to be asked before each write. On a disk, where it
costs microseconds, it is asked all the same: a store that is deleted is not to come back.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from daskimg import fetch
from daskimg.store._records import refuse_other_run

if TYPE_CHECKING:
    from daskimg.fetch import Folder

_FRESH = 60.0  # seconds after which a process asks a bucket again whether a store is its run's

_SEEN: dict[tuple[str, str], float] = {}
_LOCK = threading.Lock()


class Claim:
    """A run's right to write to a store.

    Parameters
    ----------
    folder
        The store.
    run
        The run's id, as its plan has it.
    """

    def __init__(self, folder: Folder, run: str) -> None:
        self.folder = folder
        self.run = run

    def put(self, name: str, content: bytes | memoryview) -> None:
        """Write an object that only this run writes.

        Raises
        ------
        StoreError
            If another run has taken the store over, as far as was seen. In a bucket, names that
            the other run has not come to yet may still be written in the first minute: it
            replaces them.
        """
        self.look()
        self.folder.put_once(name, content, self.check)

    def look(self) -> None:
        """Make sure that the store is this run's: in a bucket once a minute in this process."""
        with _LOCK:
            seen = _SEEN.get((self.folder.url, self.run), -_FRESH)
        if not fetch.is_url(self.folder.url) or time.monotonic() > seen + _FRESH:
            self.check()

    def check(self) -> None:
        """Make sure that the store is this run's, now."""
        refuse_other_run(self.folder, self.run)
        note_claim(self.folder.url, self.run)


def note_claim(url: str, run: str, looked: float | None = None) -> None:
    """Note that a store is known to be a run's: this process need not ask at once.

    ``looked`` says when somebody made sure, as ``time.time()`` has it: now by default. Where
    clocks differ by more than the time for which that holds, it is asked again.
    """
    age = 0.0 if looked is None else abs(time.time() - looked)
    with _LOCK:
        _SEEN[url.rstrip("/"), run] = time.monotonic() - age


def forget_claim(url: str, run: str) -> None:
    """Know nothing of a store any more: the run is over."""
    with _LOCK:
        _SEEN.pop((url.rstrip("/"), run), None)
