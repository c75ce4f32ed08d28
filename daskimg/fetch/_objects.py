"""Objects under one address: put whole, created once, listed, never edited in place."""

from __future__ import annotations

import io
import os
import shutil
import sys
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar

from daskimg.errors import SampleError, TransportError
from daskimg.fetch._access import access_error, bucket_of
from daskimg.fetch._ahead import find_ahead
from daskimg.fetch._integrity import md5_of
from daskimg.fetch._paths import is_url, local_path, refuse_slip
from daskimg.fetch._shown import shown
from daskimg.fetch._system import Content, Listed
from daskimg.fetch._systems import remote, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from daskimg.fetch._bodies import Room
    from daskimg.fetch._system import Page, System

Outcome = TypeVar("Outcome")

_TIMES = 5  # that an object is looked at which others write and delete meanwhile
_CONTESTED = "others write to it all the time"
_UNFINISHED = ".daskimg-"  # prefix of temporary files; a reader and a listing pass over them


class Folder(Protocol):
    """A place for objects. Names are relative, with ``/``; every method is safe in threads."""

    url: str

    def put(self, name: str, content: Content) -> None:
        """Write an object whole: readers see the old one or the new one, never a part."""

    def create(self, name: str, content: Content) -> bool:
        """Write an object unless it exists; return whether this call wrote it."""

    def put_once(self, name: str, content: Content, check: Callable[[], object]) -> None:
        """Write an object that is the work of one writer.

        It is created. Where it is there with the same bytes it is left alone; with others,
        ``check`` is called, which raises if they are not to be replaced; and only those are
        replaced that were there before it was called.
        """

    def read(self, name: str) -> bytes:
        """Return an object's bytes; raise ``FileNotFoundError`` if there is none."""

    def read_into(self, name: str, room: Room, *, checked: bool) -> memoryview:
        """Return an object's bytes, in memory of ``room(size)`` where that can be; see ``read``.

        Unless it is ``checked``, whoever asks finds out whether they have arrived sound.
        """

    def contents(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the bytes of objects, in order, many on their way at once; see ``read``."""

    def open(self, name: str) -> IO[bytes]:
        """Open an object to read parts of it; ``FileNotFoundError`` if there is none."""

    def size(self, name: str) -> int | None:
        """Return an object's bytes, or ``None`` if there is none."""

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of every object below ``prefix``, by name, sorted."""

    def listed(self, prefix: str = "") -> dict[str, Listed]:
        """Return what a listing tells of every object below ``prefix``, by name, sorted."""

    def names(self) -> list[str]:
        """Return the names at the top, folders and objects alike, sorted."""

    def remove(self, name: str) -> None:
        """Delete an object, or a folder with all that is in it; silent where there is none."""

    def sweep(self) -> None:
        """Delete what killed writers left half-written; no reader and no listing sees it."""

    def free_bytes(self) -> int | None:
        """Return the free space, or ``None`` where there is no such limit."""


def open_folder(url: str) -> Folder:
    """Return the folder at a local path or a URL; nothing is created until the first put."""
    refuse_slip(url)
    return _Remote(url) if is_url(url) else _Local(url)


def put_copy(source: Folder, target: Folder, name: str, content: Content) -> None:
    """Put an object of one folder, which has been read, into another.

    Within Google's storage its server copies it, and must have copied what was read.
    """
    if isinstance(target, _Remote) and all(bucket_of(each.url) for each in (source, target)):
        target.adopt(f"{source.url}/{name}", name, content)
    else:
        target.put(name, content)


class _Local:
    """A folder on disk: temporary file, fsync, then rename (put) or link (create).

    No call replaces a file on a condition. What is to be replaced is moved away, if it is what
    was looked at, and the new file is created like any other.
    """

    def __init__(self, url: str) -> None:
        self.url = str(Path(local_path(url)).absolute())
        self._root = Path(self.url)

    def put(self, name: str, content: Content) -> None:
        temporary = self._written(name, content)
        try:
            temporary.replace(self._root / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def create(self, name: str, content: Content) -> bool:
        # An exclusive open that dies half-way would leave a truncated file for ever.
        temporary = self._written(name, content)
        try:
            return _linked(temporary, self._root / name)
        finally:
            temporary.unlink(missing_ok=True)

    def put_once(self, name: str, content: Content, check: Callable[[], object]) -> None:
        path = self._root / name
        temporary = self._written(name, content)
        try:
            if not any(_named(temporary, path, content, check) for _ in range(_TIMES)):
                raise TransportError(str(path), _CONTESTED)
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def read_into(self, name: str, room: Room, *, checked: bool) -> memoryview:  # noqa: ARG002  files are mapped
        return memoryview(self.read(name))

    def contents(self, names: Iterable[str]) -> Iterator[bytes]:
        return map(self.read, names)

    def open(self, name: str) -> IO[bytes]:
        return (self._root / name).open("rb")

    def size(self, name: str) -> int | None:
        try:
            return (self._root / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sizes(self, prefix: str = "") -> dict[str, int]:
        start = self._root / prefix
        found = {}
        for folder, _, files in os.walk(start):
            for file in files:
                if not file.startswith(_UNFINISHED):
                    path = Path(folder, file)
                    with suppress(FileNotFoundError):  # removed since it was listed
                        found[path.relative_to(self._root).as_posix()] = path.stat().st_size
        return dict(sorted(found.items()))

    def listed(self, prefix: str = "") -> dict[str, Listed]:
        return {name: Listed(name, size, None) for name, size in self.sizes(prefix).items()}

    def names(self) -> list[str]:
        if not self._root.is_dir():
            return []
        return sorted(p.name for p in self._root.iterdir() if not p.name.startswith(_UNFINISHED))

    def remove(self, name: str) -> None:
        path = self._root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        place = self._root
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free

    def sweep(self) -> None:
        for path in self._root.rglob(f"{_UNFINISHED}*"):
            path.unlink(missing_ok=True)

    def _written(self, name: str, content: Content) -> Path:
        folder = (self._root / name).parent
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary


def _linked(temporary: Path, path: Path) -> bool:
    """Give a finished file its name, unless that is taken; return whether it has it."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    return True


def _named(temporary: Path, path: Path, content: Content, check: Callable[[], object]) -> bool:
    """Give a finished file its name as ``put_once`` says; return whether that has its bytes."""
    if _linked(temporary, path):
        return True
    try:
        found = path.open("rb")
    except FileNotFoundError:  # gone meanwhile
        return False
    with found:  # as long as it is open, no other file gets its inode
        if _holds(found, content):
            return True
        check()
        _move_away(path, os.fstat(found.fileno()))
    return _linked(temporary, path)


def _holds(file: IO[bytes], content: Content) -> bool:
    return os.fstat(file.fileno()).st_size == len(content) and file.read() == content


def _move_away(path: Path, looked_at: os.stat_result) -> None:
    """Free a name of the file that was looked at; any other keeps it."""
    aside = path.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        if not os.path.samestat(looked_at, path.stat()):
            return
        path.rename(aside)
        try:
            if not os.path.samestat(looked_at, aside.stat()):  # it came just now
                _linked(aside, path)
        finally:
            aside.unlink(missing_ok=True)


class _Remote:
    """A bucket's prefix: requests are repeated, and checked, by its system."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        _, path = remote(self.url)
        self._root = path.rstrip("/")

    def __reduce__(self) -> tuple[type[_Remote], tuple[str]]:
        """Travel as the URL: each process opens its own connection."""
        return type(self), (self.url,)

    def put(self, name: str, content: Content) -> None:
        self._run(lambda system: system.write(self._path(name), content, create=False), name)

    def create(self, name: str, content: Content) -> bool:
        try:
            self._run(lambda system: system.write(self._path(name), content, create=True), name)
        except FileExistsError:
            return False
        return True

    def put_once(self, name: str, content: Content, check: Callable[[], object]) -> None:
        path = self._path(name)
        for _ in range(_TIMES):
            if self.create(name, content):
                return
            try:
                found = self._run(lambda system: system.find(path), name)
                same = self._holds(name, found, content)
            except FileNotFoundError:  # gone meanwhile
                continue
            if same:
                return
            check()
            with suppress(FileNotFoundError, FileExistsError):  # gone, or another, meanwhile
                self._replace(name, content, found.generation)
                return
        raise TransportError(shown(f"{self.url}/{name}"), _CONTESTED)

    def _holds(self, name: str, found: Listed, content: Content) -> bool:
        if found.size != len(content):
            return False
        # By no crc32c: that of a shard whose chunks each end in their own is the same for any
        # pixels.
        if found.md5 is None:
            return self.read(name) == content
        return found.md5 == md5_of(content)

    def _replace(self, name: str, content: Content, generation: str | None) -> None:
        path = self._path(name)
        self._run(lambda system: system.replace(path, content, generation), name)

    def adopt(self, location: str, name: str, content: Content) -> None:
        """Write an object by the storage's own copy of another in it, which holds ``content``."""
        _, path = remote(location)
        self._run(lambda system: system.copy(path, self._path(name), content), name)

    def read(self, name: str) -> bytes:
        return self._run(lambda system: system.read(self._path(name), None, None, None), name)

    def read_into(self, name: str, room: Room, *, checked: bool) -> memoryview:
        path = self._path(name)
        return self._run(lambda system: system.read_into(path, room, checked=checked), name)

    def contents(self, names: Iterable[str]) -> Iterator[bytes]:
        places = (f"{self.url}/{name}" for name in names)
        for found in find_ahead(places, sys.maxsize, whole=True):
            if isinstance(found.content, SampleError):
                raise FileNotFoundError(found.content.message)
            yield found.content

    def open(self, name: str) -> IO[bytes]:
        return io.BytesIO(self.read(name))

    def size(self, name: str) -> int | None:
        try:
            return self._run(lambda system: system.size(self._path(name)), name)
        except FileNotFoundError:
            return None

    def sizes(self, prefix: str = "") -> dict[str, int]:
        return {name: each.size or 0 for name, each in self.listed(prefix).items()}

    def listed(self, prefix: str = "") -> dict[str, Listed]:
        above = f"{prefix}/" if prefix else ""
        objects = (each for page in self._pages(prefix) for each in page.objects)
        found = {above + each.location: each for each in objects}
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        pages = list(self._pages("", flat=True))
        found = {each.location for page in pages for each in page.objects}
        return sorted(found.union(*(page.folders for page in pages)))

    def _pages(self, prefix: str, *, flat: bool = False) -> Iterator[Page]:
        start = self._path(prefix) if prefix else self._root
        token: str | None = None
        while True:
            asked = partial(_page, start, token, flat=flat)
            try:
                page = self._run(asked, prefix)
            except FileNotFoundError:
                return
            yield page
            token = page.token
            if token is None:
                return

    def remove(self, name: str) -> None:
        self._run(lambda system: system.remove(self._path(name)), name)

    def sweep(self) -> None:
        return

    def free_bytes(self) -> int | None:
        return None

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _run(self, work: Callable[[System], Coroutine[Any, Any, Outcome]], name: str) -> Outcome:
        system, _ = remote(self.url)
        try:
            return run(work(system))
        except SampleError as error:
            message = error.message
        except PermissionError as error:
            raise access_error(f"{self.url}/{name}", error) from None
        raise TransportError(shown(f"{self.url}/{name}"), message)


async def _page(path: str, token: str | None, system: System, *, flat: bool) -> Page:
    return await system.page(path, "", flat=flat, token=token)
