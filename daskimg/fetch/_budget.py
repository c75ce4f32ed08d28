"""What one process may have under way: one budget of objects and bytes for all its tasks."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daskimg.fetch._options import configured

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_GUESS = 4 << 20  # bytes of an object before one was seen: dear, so that few begin
_BEGINNING = 16  # objects that a reader begins with; two more for each that it has used
_MEMORY = 16  # objects over which the mean forgets


class Budget:
    """Objects under way, or waiting to be used, and their bytes; safe in threads.

    Whoever reads ahead may take an even share of both, and one object always: nobody waits
    for another who does not go on.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.readers = 0
        self.objects = 0
        self.bytes = 0
        self.mean = float(_FIRST_GUESS)

    @contextmanager
    def share(
        self, most: int, guess: int | None = None, *, eager: bool = False
    ) -> Iterator[Share]:
        """Take part, with at most so many objects; ``guess`` where the bytes are known.

        Who is not eager begins with few.
        """
        share = Share(self, most, guess, most if eager else _BEGINNING)
        with self.lock:
            self.readers += 1
        try:
            yield share
        finally:
            share.close()

    def learn(self, size: int) -> None:
        """Take an object's size into the mean; the first is believed at once."""
        new = self.mean == _FIRST_GUESS
        self.mean = float(size) if new else self.mean + (size - self.mean) / _MEMORY


class Taken:
    """An object's part of the budget: its bytes, as they are expected or known."""

    __slots__ = ("held", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = True


class Share:
    """What one reader has of a budget."""

    def __init__(self, budget: Budget, most: int, guess: int | None, first: int) -> None:
        self._budget = budget
        self._most = most
        self._guess = guess
        self._first = first
        self._objects = 0
        self._bytes = 0
        self._open = True
        self._used = 0

    def has_room(self) -> bool:
        """Tell whether one more object may be asked for."""
        budget, options = self._budget, configured()
        with budget.lock:
            if self._objects == 0:
                return True
            size = self._expected()
            fits = self._bytes + size <= options.bytes_ahead // budget.readers
            few = self._objects < min(
                self._most,
                options.objects_ahead // budget.readers,
                self._first + 2 * self._used,  # who looks at the first rows only wastes little
            )
            rest = budget.objects < options.objects_ahead
            return few and fits and rest and budget.bytes + size <= options.bytes_ahead

    def take(self) -> Taken:
        """Note that an object is asked for."""
        with self._budget.lock:
            taken = Taken(self._expected())
            self._add(1, taken.size)
        return taken

    def settle(self, taken: Taken, size: int) -> None:
        """Note the bytes that an object turned out to have, handed out by now or not."""
        with self._budget.lock:
            if taken.held and self._open:
                self._add(0, size - taken.size)
                taken.size = size
            if self._guess is None and size:
                self._budget.learn(size)

    def give(self, taken: Taken) -> None:
        """Note that an object has been handed out."""
        with self._budget.lock:
            taken.held = False
            self._used += 1
            self._add(-1, -taken.size)

    def close(self) -> None:
        """Give back what is left."""
        with self._budget.lock:
            self._open = False
            self._add(-self._objects, -self._bytes)
            self._budget.readers -= 1

    def _expected(self) -> int:
        return int(self._budget.mean) if self._guess is None else self._guess

    def _add(self, objects: int, size: int) -> None:
        self._objects += objects
        self._bytes += size
        self._budget.objects += objects
        self._budget.bytes += size


BUDGET = Budget()
