"""For whom this process asks: runs of several clients in one worker keep apart.

A worker of a cluster that people share may build for two of them at once. Each has credentials,
limits and counts of its own, found by its name, which a task's thread has and hands on to the
requests and the threads that it starts.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Kept = TypeVar("Kept")

OWN = ""
"""The process itself: it asks for whoever has brought nothing of its own."""

_OWNER: ContextVar[str] = ContextVar("daskimg_owner", default=OWN)
_KNOWN: set[str] = set()


def owner() -> str:
    """Return for whom this thread asks, or this coroutine: ``OWN`` unless that one is known."""
    name = _OWNER.get()
    return name if name in _KNOWN else OWN


def admit(name: str) -> None:
    """Know an owner from now on."""
    _KNOWN.add(name)


def forget(name: str) -> None:
    """Know it no more: what still asks for it asks for the process."""
    _KNOWN.discard(name)


@contextmanager
def acting_for(name: str) -> Iterator[None]:
    """Ask for somebody while the context lasts, also on the loop and in ``threads``."""
    before = _OWNER.set(name)
    try:
        yield
    finally:
        _OWNER.reset(before)


def threads(most: int | None = None, name: str = "daskimg") -> ThreadPoolExecutor:
    """Return threads that ask for whom this one does: a context is not handed on by itself."""
    return ThreadPoolExecutor(most, name, initializer=_OWNER.set, initargs=(_OWNER.get(),))


class PerOwner(Generic[Kept]):
    """One of something for each owner, made when it is first asked for; safe in threads."""

    def __init__(self, make: Callable[[], Kept]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._kept: dict[str, Kept] = {}

    def of(self, name: str) -> Kept:
        """Return an owner's."""
        found = self._kept.get(name)
        if found is None:
            with self._lock:
                found = self._kept.setdefault(name, self._make())
        return found

    def mine(self) -> Kept:
        """Return that of whom this thread asks for."""
        return self.of(owner())

    def all(self) -> list[Kept]:
        """Return everybody's."""
        with self._lock:
            return list(self._kept.values())

    def drop(self, name: str) -> None:
        """Forget an owner's."""
        with self._lock:
            self._kept.pop(name, None)
