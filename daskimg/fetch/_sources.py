"""Reading what a table points at: files, objects and members of archives, whole or in part."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from daskimg.errors import SampleError
from daskimg.fetch._access import access_error
from daskimg.fetch._archives import Archives, Means
from daskimg.fetch._bodies import refuse_large
from daskimg.fetch._local import read_file, read_file_part
from daskimg.fetch._paths import extended, generation_of, is_url, local_path, place_of
from daskimg.fetch._ranges import opened
from daskimg.fetch._retries import ABSENT
from daskimg.fetch._systems import remote, run
from daskimg.fetch._systems import start as begin
from daskimg.options import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from daskimg.fetch._paths import Place
    from daskimg.fetch._system import System

Outcome = TypeVar("Outcome")


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
    try:
        if place_of(location):
            return io.BytesIO(read(location, sys.maxsize))
        size = _size(location)
        if size is None:
            return io.BytesIO(read(location, sys.maxsize))
    except SampleError as error:
        if error.reason != "missing":
            raise PermissionError(error.message) from None
        raise FileNotFoundError(error.message) from None
    return opened(size, lambda start, stop: read_part(location, start, stop))


def read(location: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of one source.

    Raises
    ------
    SampleError
        If the file is at fault: ``missing``, ``unreadable`` or over ``max_bytes``; or the
        archive that it is in.
    TransportError
        If it could not be reached, after retries: no fault of the file.
    """
    if not is_url(location):
        return read_file(location, max_bytes)
    place = place_of(location)
    if place:
        return _read_member(place, max_bytes)
    return run(read_remote(location, None, None, max_bytes))


def read_part(
    location: str, start: int, stop: int | None = None, max_bytes: int = MAX_BYTES
) -> bytes:
    """Return the bytes of a source from ``start`` to ``stop``; fewer where it ends before.

    A negative ``start`` counts from the end. A server that knows no ranges sends more than
    was asked for: the whole file. Of a remote source ``max_bytes`` is not looked at. Of a
    member of an archive the whole is read.

    Raises
    ------
    SampleError
        If the file is at fault, as for ``read``.
    TransportError
        If it could not be reached, after retries: no fault of the file.
    """
    if not is_url(location):
        return read_file_part(location, start, stop, max_bytes)
    place = place_of(location)
    if place:
        return _read_member(place, max_bytes)[slice(start, stop)]
    return run(read_remote(location, start, stop))


# Not through obstore: it takes 0.26 ms of a processor a GET where this takes 0.44
# (tests/benchmarks/clients.py), but this compares the server's hashes, too, and asks for the
# generation that was listed; to decode a photograph costs about ten times the difference.
async def read_remote(
    location: str, start: int | None, stop: int | None, limit: int | None = None
) -> bytes:
    """Return a remote object, or a part of it; on the loop."""
    system, path = remote(location)
    generation = generation_of(location)
    try:
        return await system.read(path, start, stop, limit, generation)
    except ABSENT:
        pass
    except PermissionError as error:  # expired credentials, too: no fault of one file
        raise access_error(location, error) from None
    if generation is not None and await _is_there(system, path):
        raise SampleError("changed", "it was written again after it was listed")
    raise SampleError("missing", "no such object")


async def _is_there(system: System, path: str) -> bool:
    try:
        await system.size(path)
    except ABSENT:
        return False
    return True


def begin_read(location: str, start: int | None = None, stop: int | None = None) -> Future[bytes]:
    """Begin to read a remote object or a part of it; its future raises what ``read`` does."""
    return begin(read_remote(location, start, stop))


def under_extensions(
    call: Callable[[str], Outcome], location: str, extensions: Sequence[str]
) -> tuple[Outcome, str]:
    """Return ``call`` of the first place that is there, and the extension that it has more.

    Raises
    ------
    SampleError
        If there is none of them: ``missing``. What else ``call`` raises passes through.
    """
    missing = no_path()
    for extension in ("", *extensions) if location else ():
        try:
            return call(extended(location, extension)), extension
        except SampleError as error:
            missing = still_missing(error)
    raise with_extensions(missing, location, extensions)


def no_path() -> SampleError:
    """Return what is wrong with a row whose path is empty."""
    return SampleError("missing", "no path in the table")


def still_missing(error: SampleError) -> SampleError:
    """Return a fault that another extension may mend; raise any other."""
    if error.reason != "missing":
        raise error
    return error


def with_extensions(missing: SampleError, location: str, extensions: Sequence[str]) -> SampleError:
    """Return what is missing, the extensions named under which it was looked for."""
    if not (extensions and location):
        return missing
    return SampleError("missing", f"{missing.message}, nor with {', '.join(extensions)}")


def limited(content: bytes | SampleError, max_bytes: int) -> bytes | SampleError:
    """Return what was read, or that it is too much: for pictures inside a table."""
    try:
        refuse_large(0 if isinstance(content, SampleError) else len(content), max_bytes)
    except SampleError as error:
        return error
    return content


def _read_member(place: Place, max_bytes: int) -> bytes:
    member = _ARCHIVES.find(place)
    refuse_large(member.size, max_bytes)
    return _ARCHIVES.read(place, member)


def _size(location: str) -> int | None:
    if not is_url(location):
        return Path(local_path(location)).stat().st_size
    system, path = remote(location)
    try:
        return run(system.size(path))
    except ABSENT:
        raise SampleError("missing", "no such object") from None
    except PermissionError as error:
        raise access_error(location, error) from None


def _archive_size(location: str) -> int | None:
    try:
        return _size(location)
    except ABSENT:
        raise SampleError("missing", "no such object") from None


def _archive_part(location: str, start: int, stop: int | None) -> bytes:
    return read_part(location, start, stop, sys.maxsize)


_ARCHIVES = Archives(Means(_archive_size, _archive_part))
