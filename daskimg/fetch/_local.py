"""Files on a disk: read by descriptor, in as few system calls as there can be."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daskimg.errors import SampleError, TransportError
from daskimg.fetch._bodies import refuse_large
from daskimg.fetch._paths import local_path
from daskimg.fetch._retries import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEVER_THERE = {errno.ENAMETOOLONG, errno.ELOOP}  # no file can have such a name


def read_file(location: str, max_bytes: int) -> bytes:
    """Return a file's bytes."""
    with _open(location, max_bytes) as (descriptor, size):
        return _content(descriptor, size)


def read_file_part(location: str, start: int, stop: int | None, max_bytes: int) -> bytes:
    """Return a file's bytes from ``start``, which may count from its end, to ``stop``."""
    with _open(location, max_bytes) as (descriptor, size):
        first = max(0, size + start) if start < 0 else start
        last = size if stop is None else stop
        return os.pread(descriptor, max(0, last - first), first)


@contextmanager
def _open(location: str, max_bytes: int) -> Iterator[tuple[int, int]]:
    """Open a file, and refuse what is none; the descriptor, and how many bytes it has."""
    path = local_path(location)
    descriptor = _opened(path)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SampleError("missing", "not a regular file")
        refuse_large(found.st_size, max_bytes)
        yield descriptor, found.st_size
    except OSError as error:
        raise TransportError(path, str(error)) from error
    finally:
        os.close(descriptor)


def _opened(path: str) -> int:
    if not path:
        raise SampleError("missing", "no path in the table")
    try:
        # O_NONBLOCK: a named pipe in the table must not hang the task
        return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (*ABSENT, ValueError):  # ValueError: a NUL in the name
        raise SampleError("missing", "no such file") from None
    except PermissionError:
        raise SampleError("unreadable", "permission denied") from None
    except OSError as error:
        if error.errno in _NEVER_THERE:
            raise SampleError("missing", f"no such file ({os.strerror(error.errno)})") from None
        raise TransportError(path, str(error)) from error


def _content(descriptor: int, size: int) -> bytes:
    """Return a file's bytes in one system call: each hands the GIL to another thread."""
    content = os.read(descriptor, size)
    while len(content) < size:  # over 2 GiB, or cut short by a network's file system
        more = os.read(descriptor, size - len(content))
        if not more:
            break  # the file has shrunk: what there is will not decode, and says why
        content += more
    return content
