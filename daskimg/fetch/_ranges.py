"""A remote object as a file that can be sought in: read in parts, each checked and repeated."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAST = 1 << 16
_MOST = 1 << 23


class Ranges(io.RawIOBase):
    """An object of known size, by ranges: short ones here and there, long ones in a row.

    Parameters
    ----------
    size
        Of the object, in bytes.
    read
        Returns the bytes from a start to a stop; all of them from a server without ranges.
    """

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._read = read
        self._at = 0
        self._first = 0
        self._held = b""
        self._step = _LEAST

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be sought in."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read from."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is asked for before it is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: object, /) -> int:
        """Fill a buffer with what comes next; return how many bytes that was."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if self._at >= self._size or not len(view):
            return 0
        if not self._first <= self._at < self._first + len(self._held):
            self._fetch(len(view))
        start = self._at - self._first
        part = self._held[start : start + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _fetch(self, wanted: int) -> None:
        in_a_row = self._at == self._first + len(self._held) and self._held
        self._step = min(_MOST, 2 * self._step) if in_a_row else _LEAST
        stop = min(self._size, self._at + max(wanted, self._step))
        # A zip is read from its end, piece by piece further to the front.
        start = min(self._at, stop - self._step) if stop == self._size else self._at
        start = max(0, start)
        self._held = self._read(start, stop)
        whole = len(self._held) == self._size  # perhaps a server without ranges: all is here
        self._first = 0 if whole else start


def opened(size: int, read: Callable[[int, int], bytes]) -> IO[bytes]:
    """Return a file over ranges, buffered."""
    return io.BufferedReader(Ranges(size, read), _LEAST)
