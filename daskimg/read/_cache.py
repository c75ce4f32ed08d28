"""Shards of a bucket kept on this machine, for all its processes, within a number of bytes.

A folder of files, named by the sha256 that the store's commit has of them: a shard that was
written anew is another file, and what is there twice is kept once. What happens to a file is
decided by locks of the system (``flock``), which end with whoever holds them, however that was:

* who reads a file holds it shared, as long as it is mapped; only a file that nobody holds is
  removed to make room, the longest unused first;
* who fetches one holds its name's lock, so that a second process waits for the first;
* what is being written has a name that no reader looks for, and its own lock; when that is
  free and the name still there, its writer has died, and it is removed.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import resource
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np

from daskimg.errors import OptionError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from daskimg.store import Sharded

Outcome = TypeVar("Outcome")

Memory: TypeAlias = "NDArray[np.uint8]"

_LOCKS = ".daskimg-locks"
_UNFINISHED = ".daskimg-"
_OURS = re.compile(rf"[0-9a-f]{{64}}|{re.escape(_UNFINISHED)}[0-9a-f]{{32}}")
_MOST_MAPPED = 512  # files that a reader holds mapped: each has a descriptor,
_SHARE = 4  # of those that the process may have, a part: several epochs may be open at once
_NAMES = 256  # locks for names: two names may share one, which costs a wait


class _Kept(NamedTuple):
    """Content, and what tells its file from a later one of its name; ``None`` if it has none."""

    content: Memory
    file: tuple[int, int] | None


class Cache:
    """Objects of a bucket in a folder of this machine.

    Parameters
    ----------
    folder
        Made if it is not there; of this machine, not of a network. In another user's, what is
        there is read, and nothing is kept.
    limit
        Bytes of all files that are kept here. What finds no room, because readers use all
        there is, is read and not kept.

    Attributes
    ----------
    fetched
        Objects that this process has fetched.
    """

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = Path(folder).absolute()
        self._limit = limit
        self._sound: dict[str, tuple[int, int]] = {}
        self.fetched = 0
        try:
            (self._folder / _LOCKS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"cache={folder!r} cannot be made a folder: {error}") from None

    def room(self, sharded: Sharded) -> int:
        """Return the bytes of files that one reader may hold mapped, so that there is room."""
        largest = sharded.largest
        return max(largest, min(self._limit // 2, _most_mapped() * largest))

    def get(
        self,
        stamp: tuple[int, str],
        fetch: Callable[[], Memory],
        use: Callable[[Memory, bool], Outcome],
    ) -> Outcome:
        """Return ``use(content, sound)`` of an object; its file stays while the content is held.

        Parameters
        ----------
        stamp
            Its bytes and sha256.
        fetch
            Reads it where it comes from, and finds it sound.
        use
            Is told whether this process has found the file sound before, and raises
            ``StoreError`` if it is damaged: then the file is removed and fetched again, once.
        """
        size, name = stamp
        kept = self._kept(size, name)
        if kept is not None:
            try:
                return self._used(name, kept, use)
            except StoreError:
                if not self._forget(name, kept.file):
                    self.fetched += 1
                    return use(fetch(), True)
        return self._used(name, self._fetched(size, name, fetch), use)

    def _used(self, name: str, kept: _Kept, use: Callable[[Memory, bool], Outcome]) -> Outcome:
        found = use(kept.content, kept.file is None or self._sound.get(name) == kept.file)
        if kept.file is not None:
            self._sound[name] = kept.file
        return found

    def _kept(self, size: int, name: str) -> _Kept | None:
        """Return a file's content, if it is there, and as long as it must be."""
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY)
        except (FileNotFoundError, PermissionError):  # it may be another user's
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            facts = os.fstat(descriptor)
            if not facts.st_nlink:
                return None  # removed between the two calls
            file = _file_of(facts)
            if facts.st_size != size:
                self._forget(name, file)
                return None
            with suppress(PermissionError):  # another user's: it keeps the time of its making
                os.utime(descriptor, ns=(time.time_ns(), facts.st_mtime_ns))
            # The map keeps the descriptor, and the descriptor the lock.
            content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
            return _Kept(np.frombuffer(content, np.uint8), file)
        finally:
            os.close(descriptor)

    def _fetched(self, size: int, name: str, fetch: Callable[[], Memory]) -> _Kept:
        """Fetch an object, or find that another process has done so meanwhile."""
        with self._locked(f"{int(name[:8], 16) % _NAMES:02x}"):
            kept = self._kept(size, name)
            if kept is None:
                content = fetch()
                self.fetched += 1
                self._write(name, content)
                kept = self._kept(size, name) or _Kept(content, None)
            return kept

    def _write(self, name: str, content: Memory) -> None:
        """Write a file, if room can be made for it."""
        temporary = self._folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
        with self._locked("room") as locked:
            if not locked or not self._make_room(len(content)):
                return
            try:
                descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            except PermissionError:  # another user's folder
                return
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.ftruncate(descriptor, len(content))  # so that it counts
        try:
            # Without fsync: after a crash of the machine its length or its crc32c may be wrong,
            # and both are looked at by every process that reads it.
            _write_all(descriptor, content.data)
            self._sound[name] = _file_of(
                os.fstat(descriptor)
            )  # of no use to anybody if it is not renamed
            with self._locked("room"):  # or who counts the files sees it under neither name
                temporary.replace(self._folder / name)
        except OSError:  # a full disk: what was fetched is good all the same
            temporary.unlink(missing_ok=True)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def _make_room(self, size: int) -> bool:
        """Remove what died, and then the longest unused, until so many bytes are free."""
        files = sorted(
            (not path.name.startswith(_UNFINISHED), facts.st_atime_ns, path, facts.st_size)
            for path, facts in self._files()
        )
        held = sum(each[-1] for each in files)
        for finished, _, path, length in files:
            if finished and held + size <= self._limit:
                break
            if _remove_unused(path):
                held -= length
        return held + size <= self._limit

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                # Whatever else lies in the folder is somebody's, and neither counts nor goes.
                if _OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), entry.stat()

    def _forget(self, name: str, file: tuple[int, int] | None) -> bool:
        """Remove a damaged file, unless another has taken its place; tell whether it is gone."""
        path = self._folder / name
        try:
            if _file_of(path.stat()) == file:
                path.unlink()
        except FileNotFoundError:
            return True
        except PermissionError:  # another user's
            return False
        return True

    @contextmanager
    def _locked(self, name: str) -> Iterator[bool]:
        """Hold a lock that all processes of this machine share; it ends with its holder.

        Gives ``False``, and holds nothing, where it is another user's.
        """
        try:
            descriptor = os.open(self._folder / _LOCKS / name, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield True
        finally:
            os.close(descriptor)


def _file_of(facts: os.stat_result) -> tuple[int, int]:
    """Return what tells a file from a later one of its name."""
    return facts.st_ino, facts.st_mtime_ns


def _most_mapped() -> int:
    """Return how many files one reader may hold mapped."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_MAPPED if most == resource.RLIM_INFINITY else min(_MOST_MAPPED, most // _SHARE)


def _remove_unused(path: Path) -> bool:
    """Remove a file that nobody holds; return whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except (BlockingIOError, PermissionError):  # in use, or another user's
        return False
    finally:
        os.close(descriptor)
    return True


def _write_all(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
