"""Reading what a table points at: whole files, in the order asked for, a few ahead."""

from __future__ import annotations

import errno
import os
import random
import stat
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from daskimg.errors import SampleError, TransportError
from daskimg.fetch._paths import is_url, local_path, remote
from daskimg.options import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Outcome = TypeVar("Outcome")

IN_FLIGHT = 16
"""Remote objects on their way at once, per task: hides 50 ms a GET behind 3 ms of decoding."""

_ATTEMPTS = 5
_LONGEST_WAIT = 8.0

_NOT_THERE, _FORBIDDEN = {404, 410}, {401, 403}  # what a web server answers

_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_NEVER_THERE = {errno.ENAMETOOLONG, errno.ELOOP}  # no file can have such a name


def open_input(location: str) -> IO[bytes]:
    """Open a table (not a picture) for reading; the caller closes it.

    Raises
    ------
    FileNotFoundError, PermissionError
        If the file is not there, or may not be read.
    TransportError
        If it could not be reached, after retries.
    """
    if not is_url(location):
        return open(local_path(location), "rb")  # noqa: PTH123  handed to the caller
    system, path = remote(location)

    def once() -> IO[bytes]:
        try:
            return cast("IO[bytes]", system.open(path, "rb"))
        except FileNotFoundError as error:
            answer = _answered(error)
            if answer is error:
                raise
            raise answer from error

    return cast("IO[bytes]", retried(once, location))


def _answered(error: FileNotFoundError) -> OSError:
    """Return what a web server said, or that it said nothing.

    fsspec calls a web address not found for whatever reason it cannot be opened.
    """
    cause = error.__cause__
    if cause is None or isinstance(cause, ValueError):  # another file system; no web address
        return error
    status = getattr(cause, "status", None)  # aiohttp's
    if status is None:
        return ConnectionError(str(cause))
    answer = f"the server answers {status} {getattr(cause, 'message', '')}"
    if status in _NOT_THERE:
        return FileNotFoundError(answer)
    return PermissionError(answer) if status in _FORBIDDEN else ConnectionError(answer)


def read(location: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of one source.

    Raises
    ------
    SampleError
        If the file is at fault: ``missing``, ``unreadable`` or over ``max_bytes``.
    TransportError
        If it could not be reached, after retries: no fault of the file.
    """
    if is_url(location):
        content = _remote_part(location, 0, max_bytes + 1)
        _refuse_large(len(content), max_bytes)
        return content
    with _local(location, max_bytes) as (descriptor, size):
        return _content(descriptor, size)


def read_part(
    location: str, start: int, stop: int | None = None, max_bytes: int = MAX_BYTES
) -> bytes:
    """Return the bytes of a source from ``start`` to ``stop``; fewer where it ends before.

    A negative ``start`` counts from the end. A server that knows no ranges sends more than
    was asked for: the whole file. Of a remote source ``max_bytes`` is not looked at.

    Raises
    ------
    SampleError
        If the file is at fault, as for ``read``.
    TransportError
        If it could not be reached, after retries: no fault of the file.
    """
    if is_url(location):
        return _remote_part(location, start, stop)
    with _local(location, max_bytes) as (descriptor, size):
        first = max(0, size + start) if start < 0 else start
        last = size if stop is None else stop
        return os.pread(descriptor, max(0, last - first), first)


class Found(NamedTuple):
    """What one source held, and what had to be put behind its name for it to be found."""

    content: bytes | SampleError
    extension: str


def read_ahead(
    locations: Iterable[str], max_bytes: int = MAX_BYTES, extensions: Sequence[str] = ()
) -> Iterator[bytes | SampleError]:
    """Yield each source's bytes, or what is wrong with it, in the order of ``locations``.

    Remote sources are fetched up to ``IN_FLIGHT`` ahead of the one being decoded. Local
    ones are read when their turn comes: the page cache is faster than a thread switch.
    """
    for found in find_ahead(locations, max_bytes, extensions):
        yield found.content


def find_ahead(
    locations: Iterable[str], max_bytes: int = MAX_BYTES, extensions: Sequence[str] = ()
) -> Iterator[Found]:
    """Yield what ``read_ahead`` does, and the extension that each source was found under.

    Parameters
    ----------
    locations
        Where the sources are.
    max_bytes
        The most that a source may hold.
    extensions
        What to put behind a location where there is nothing, in this order, as ``.jpg``. They
        cost nothing where the file is there.
    """
    yield from in_order(lambda place: _found(place, max_bytes, extensions), locations)


def _found(location: str, max_bytes: int, extensions: Sequence[str]) -> Found:
    def whole(place: str) -> bytes:
        return read(place, max_bytes)

    try:
        return Found(*under_extensions(whole, location, extensions))
    except SampleError as error:
        return Found(error, "")


def under_extensions(
    call: Callable[[str], Outcome], location: str, extensions: Sequence[str]
) -> tuple[Outcome, str]:
    """Return ``call`` of the first place that is there, and the extension that it has more.

    Raises
    ------
    SampleError
        If there is none of them: ``missing``. What else ``call`` raises passes through.
    """
    missing = SampleError("missing", "no path in the table")
    for extension in ("", *extensions) if location else ():
        try:
            return call(location + extension), extension
        except SampleError as error:
            if error.reason != "missing":
                raise
            missing = error
    if extensions and location:
        more = f"{missing.message}, nor with {', '.join(extensions)}"
        missing = SampleError("missing", more)
    raise missing


def in_order(
    call: Callable[[str], Outcome], locations: Iterable[str], in_flight: int = IN_FLIGHT
) -> Iterator[Outcome]:
    """Yield ``call`` of each location, in their order; remote ones up to ``in_flight`` ahead."""
    pool: ThreadPoolExecutor | None = None
    waiting: deque[Future[Outcome] | str] = deque()  # remote ones under way, local ones by name
    try:
        for location in locations:
            if is_url(location):
                pool = pool or ThreadPoolExecutor(in_flight, thread_name_prefix="daskimg-fetch")
                waiting.append(pool.submit(call, location))
            else:
                waiting.append(location)
            if pool is None or len(waiting) >= in_flight:
                yield _outcome(waiting.popleft(), call)
        while waiting:
            yield _outcome(waiting.popleft(), call)
    finally:
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)


def _outcome(waiting: Future[Outcome] | str, call: Callable[[str], Outcome]) -> Outcome:
    return call(waiting) if isinstance(waiting, str) else waiting.result()


@contextmanager
def _local(location: str, max_bytes: int) -> Iterator[tuple[int, int]]:
    """Open a file, and refuse what is none; the descriptor, and how many bytes it has."""
    path = local_path(location)
    descriptor = _opened(path)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SampleError("missing", "not a regular file")
        _refuse_large(found.st_size, max_bytes)
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
    except (*_ABSENT, ValueError):  # ValueError: a NUL in the name
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


def _remote_part(location: str, start: int, stop: int | None) -> bytes:
    system, path = remote(location)

    def once() -> bytes:
        try:
            return bytes(system.cat_file(path, start, stop))
        except Exception as error:
            if _is_beyond(error):  # an object without a byte has no range that could be sent
                return b""
            raise

    try:
        content: bytes = retried(once, location)
    except _ABSENT:
        raise SampleError("missing", "no such object") from None
    except PermissionError as error:  # expired credentials, too: no fault of one file
        raise TransportError(location, f"permission denied: {error}") from error
    return content


def _is_beyond(error: Exception) -> bool:
    """Tell whether a server answered 416: nothing of the range asked for is there."""
    status = getattr(error, "status", None)  # aiohttp's
    return (getattr(error, "code", None) if status is None else status) == 416


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
