"""Archives as sources: listed once a process, their members read by ranges."""

from __future__ import annotations

import os
import tarfile
import threading
import zipfile
from collections import OrderedDict
from typing import IO, TYPE_CHECKING, NamedTuple

from daskimg.errors import SampleError, TransportError
from daskimg.fetch._members import DamagedError, Listing, list_tar, list_zip, plain_name
from daskimg.fetch._paths import is_url, local_path
from daskimg.fetch._ranges import opened
from daskimg.fetch._shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskimg.fetch._members import Member
    from daskimg.fetch._paths import Place

MEMBERS = 2_000_000
"""Members that are kept listed in a process, of all archives together: about 300 MB."""

_LISTERS = {"zip": list_zip, "tar": list_tar}


class Means(NamedTuple):
    """How an archive's bytes are read.

    Attributes
    ----------
    size
        Returns its bytes, by location; ``None`` if the server does not say.
    part
        Returns a part of it, by location, start and stop.
    """

    size: Callable[[str], int | None]
    part: Callable[[str, int, int | None], bytes]


class _Entry:
    """An archive that is listed, or being listed, or could not be."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.listing: Listing | SampleError | None = None

    def __len__(self) -> int:
        return len(self.listing.members) if isinstance(self.listing, Listing) else 1


class Archives:
    """The archives that this process knows; safe in threads, each is listed by one of them."""

    def __init__(self, means: Means, members: int = MEMBERS) -> None:
        self._means = means
        self._members = members
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[object, ...], _Entry] = OrderedDict()

    def find(self, place: Place) -> Member:
        """Return a member of an archive.

        Raises
        ------
        SampleError
            If there is none, or no archive, or no archive that can be read.
        """
        listing = self._listing(place)
        member = listing.members.get(plain_name(place.member))
        if member is None:
            more = f"; {listing.broken}" if listing.broken else ""
            raise SampleError("missing", f"no such member in the archive{more}")
        return member

    def read(self, place: Place, member: Member) -> bytes:
        """Return a member's bytes; those that cannot be right are read a second time."""
        raw = self._means.part(place.archive, member.start, member.stop)
        try:
            return member.unpack(_cut(raw, member))
        except DamagedError:
            again = self._means.part(place.archive, member.start, member.stop)
        try:
            return member.unpack(_cut(again, member))
        except DamagedError as error:
            if again == raw:  # so they lie there
                message = f"the member is damaged, or the archive was changed: {error}"
                raise SampleError("corrupt", message) from None
            raise TransportError(shown(place.archive), f"bytes arrive damaged: {error}") from None

    def _listing(self, place: Place) -> Listing:
        entry = self._entry(place)
        with entry.lock:
            if entry.listing is None:
                entry.listing = self._listed(place)
                self._shrink()
            listing = entry.listing
        if isinstance(listing, SampleError):
            raise SampleError(listing.reason, listing.message)
        return listing

    def _entry(self, place: Place) -> _Entry:
        key = place.kind, place.archive, *_stamp(place.archive)
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            return entry

    def _shrink(self) -> None:
        """Forget the archives that were not asked for longest, but never the last."""
        with self._lock:
            total = sum(map(len, self._entries.values()))
            while total > self._members and len(self._entries) > 1:
                total -= len(self._entries.popitem(last=False)[1])

    def _listed(self, place: Place) -> Listing | SampleError:
        try:
            with self._open(place.archive) as file:
                return _LISTERS[place.kind](file)
        except SampleError as error:
            told = "no such archive" if error.reason == "missing" else error.message
            return SampleError(error.reason, told)
        except (zipfile.BadZipFile, tarfile.TarError, NotImplementedError, ValueError) as error:
            return SampleError("corrupt", f"the archive is no {place.kind}: {error}")

    def _open(self, archive: str) -> IO[bytes]:
        size = self._means.size(archive)
        if size is None:
            size = len(self._means.part(archive, 0, None))
        return opened(size, lambda start, stop: self._means.part(archive, start, stop))


def _cut(raw: bytes, member: Member) -> bytes:
    """Return a member's part of what arrived: all, from a server without ranges."""
    if len(raw) > member.stop - member.start:
        return raw[member.start : member.stop]
    return raw


def _stamp(archive: str) -> tuple[int, ...]:
    """Return what changes when a local archive is written anew."""
    if is_url(archive):
        return ()
    try:
        found = os.stat(local_path(archive))  # noqa: PTH116  per row
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
