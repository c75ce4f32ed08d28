"""Reading what a table points at: whole files, in the order asked for, a few ahead."""

from __future__ import annotations

import errno
import os
import random
import stat
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any, cast

from daskimg.errors import SampleError, TransportError
from daskimg.fetch._paths import is_url, local_path, remote
from daskimg.options import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

IN_FLIGHT = 16
"""Remote objects on their way at once, per task: hides 50 ms a GET behind 3 ms of decoding."""

_ATTEMPTS = 5
_LONGEST_WAIT = 8.0

_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_NEVER_THERE = {errno.ENAMETOOLONG, errno.ELOOP}  # no file can have such a name


def open_input(location: str) -> IO[bytes]:
    """Open a table (not a picture) for reading; the caller closes it."""
    if not is_url(location):
        return open(local_path(location), "rb")  # noqa: PTH123  handed to the caller
    system, path = remote(location)
    return cast("IO[bytes]", system.open(path, "rb"))


def read(location: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of one source.

    Raises
    ------
    SampleError
        If the file is at fault: ``missing``, ``unreadable`` or over ``max_bytes``.
    TransportError
        If it could not be reached, after retries: no fault of the file.
    """
    if not location:
        raise SampleError("missing", "no path in the table")
    if is_url(location):
        return _read_remote(location, max_bytes)
    return _read_local(location, max_bytes)


def read_ahead(
    locations: Iterable[str], max_bytes: int = MAX_BYTES
) -> Iterator[bytes | SampleError]:
    """Yield each source's bytes, or what is wrong with it, in the order of ``locations``.

    Remote sources are fetched up to ``IN_FLIGHT`` ahead of the one being decoded. Local
    ones are read when their turn comes: the page cache is faster than a thread switch.
    """
    pool: ThreadPoolExecutor | None = None
    waiting: deque[Future[bytes] | str] = deque()  # remote ones under way, local ones by name
    try:
        for location in locations:
            if is_url(location):
                pool = pool or ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="daskimg-fetch")
                waiting.append(pool.submit(read, location, max_bytes))
            else:
                waiting.append(location)
            if pool is None or len(waiting) >= IN_FLIGHT:
                yield _outcome(waiting.popleft(), max_bytes)
        while waiting:
            yield _outcome(waiting.popleft(), max_bytes)
    finally:
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)


def _outcome(waiting: Future[bytes] | str, max_bytes: int) -> bytes | SampleError:
    try:
        return read(waiting, max_bytes) if isinstance(waiting, str) else waiting.result()
    except SampleError as error:
        return error


def _read_local(location: str, max_bytes: int) -> bytes:
    path = local_path(location)
    try:
        # O_NONBLOCK: a named pipe in the table must not hang the task
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (*_ABSENT, ValueError):  # ValueError: a NUL in the name
        raise SampleError("missing", "no such file") from None
    except PermissionError:
        raise SampleError("unreadable", "permission denied") from None
    except OSError as error:
        if error.errno in _NEVER_THERE:
            raise SampleError("missing", f"no such file ({os.strerror(error.errno)})") from None
        raise TransportError(path, str(error)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SampleError("missing", "not a regular file")
        _refuse_large(found.st_size, max_bytes)
        return _content(descriptor, found.st_size)
    except OSError as error:
        raise TransportError(path, str(error)) from error
    finally:
        os.close(descriptor)


def _content(descriptor: int, size: int) -> bytes:
    """Return a file's bytes in one system call: each hands the GIL to another thread."""
    content = os.read(descriptor, size)
    while len(content) < size:  # over 2 GiB, or cut short by a network's file system
        more = os.read(descriptor, size - len(content))
        if not more:
            break  # the file has shrunk: what there is will not decode, and says why
        content += more
    return content


def _read_remote(location: str, max_bytes: int) -> bytes:
    system, path = remote(location)
    try:
        content: bytes = retried(lambda: bytes(system.cat_file(path, 0, max_bytes + 1)), location)
    except _ABSENT:
        raise SampleError("missing", "no such object") from None
    except PermissionError as error:  # expired credentials, too: no fault of one file
        raise TransportError(location, f"permission denied: {error}") from error
    _refuse_large(len(content), max_bytes)
    return content


def limited(content: bytes | SampleError, max_bytes: int) -> bytes | SampleError:
    """Return what was read, or that it is too much: for pictures inside a table."""
    try:
        _refuse_large(0 if isinstance(content, SampleError) else len(content), max_bytes)
    except SampleError as error:
        return error
    return content


def _refuse_large(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise SampleError("bytes", f"more than the limit of {max_bytes:,} bytes")


def retried(call: Callable[[], Any], location: str) -> Any:
    """Return ``call()``, trying again with backoff and full jitter on a transport fault.

    Raises
    ------
    TransportError
        After the last attempt.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return call()
        except (FileExistsError, PermissionError, *_ABSENT):
            raise
        except Exception as error:  # each file system has its own tree of network errors
            if attempt == _ATTEMPTS - 1:
                raise TransportError(location, f"{type(error).__name__}: {error}") from error
        time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.25 * 2**attempt)))
    raise AssertionError  # the last attempt returned or raised
