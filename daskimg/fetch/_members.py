"""Members of archives: where their bytes are, and what must be done to them."""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from daskimg.errors import SampleError

if TYPE_CHECKING:
    from collections.abc import Iterator

_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 98: "ppmd"}
_ENCRYPTED = 0x1
_UTF8 = 0x800
_LOCAL = struct.Struct("<4s22xHH")  # APPNOTE 4.3.7: signature, ..., lengths of name and extra
_MOST_EXTRA = 1 << 16
_BLOCK = 512  # bytes of a tar header
_COMPRESSED = {  # at which byte of the archive, what; the first member's name is there, else
    "gzip": (0, b"\x1f\x8b"),
    "bzip2": (4, b"1AY&SY"),
    "xz": (0, b"\xfd7zXZ\x00"),
    "zstd": (0, b"(\xb5/\xfd"),
}


class DamagedError(Exception):
    """The bytes are not those of the member that was listed."""


class Member(Protocol):
    """A file in an archive: its bytes are in ``start`` to ``stop``, with what is around them."""

    @property
    def start(self) -> int:
        """The first byte in the archive."""

    @property
    def stop(self) -> int:
        """The byte behind the last."""

    @property
    def size(self) -> int:
        """Bytes of the file itself."""

    def unpack(self, raw: bytes) -> bytes:
        """Return the file; ``SampleError`` if it cannot be had, ``DamagedError`` if it is none."""


class Listing(NamedTuple):
    """What an archive holds.

    Attributes
    ----------
    members
        By name; of several with one name the last counts, as it does in unpacking.
    broken
        Where the archive breaks off, in words; empty if it does not.
    """

    members: dict[str, Member]
    broken: str = ""


class ZipMember(NamedTuple):
    """A member of a zip: from its own header to the next one."""

    start: int
    stop: int
    size: int
    packed: int
    method: int
    crc32: int
    flags: int

    def unpack(self, raw: bytes) -> bytes:
        """Return the file, its CRC-32 checked."""
        if self.flags & _ENCRYPTED:
            raise SampleError("unreadable", "the member is encrypted")
        if self.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            name = _METHODS.get(self.method, "unknown")
            message = f"the member is compressed by method {self.method} ({name}); use deflate"
            raise SampleError("codec", message)
        content = self._inflated(self._data(raw))
        if len(content) != self.size or zlib.crc32(content) != self.crc32:
            raise DamagedError("its CRC-32 is not the one that was listed")
        return content

    def _data(self, raw: bytes) -> bytes:
        if len(raw) < _LOCAL.size or raw[:4] != b"PK\x03\x04":
            raise DamagedError("there is no member where one was listed")
        _, name, extra = _LOCAL.unpack_from(raw)
        first = _LOCAL.size + name + extra
        return raw[first : first + self.packed]

    def _inflated(self, data: bytes) -> bytes:
        if self.method == zipfile.ZIP_STORED:
            return data
        try:
            # One byte more than listed: a member that unpacks to more is seen, not unpacked.
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.size + 1)
        except zlib.error as error:
            raise DamagedError(f"it cannot be inflated ({error})") from None


class TarMember(NamedTuple):
    """A member of a plain tar: its header's last block, then its bytes."""

    start: int
    stop: int
    size: int
    checksum: int

    def unpack(self, raw: bytes) -> bytes:
        """Return the file, its header compared with the one that was listed."""
        head = raw[:_BLOCK]
        if len(head) < _BLOCK or _checksum(head) != self.checksum:
            raise DamagedError("there is no member where one was listed")
        if len(raw) != self.stop - self.start:
            raise SampleError("truncated", "the archive ends within the member")
        return raw[_BLOCK:]


def list_zip(file: IO[bytes]) -> Listing:
    """Return the members of a zip, from the directory at its end.

    Raises
    ------
    zipfile.BadZipFile
        If there is none.
    """
    with zipfile.ZipFile(file) as archive:
        found = sorted(archive.infolist(), key=lambda each: each.header_offset)
        stops = [each.header_offset for each in found[1:]] + [archive.start_dir]
        members: dict[str, Member] = {}
        for each, stop in zip(found, stops, strict=True):
            if not each.is_dir():
                members.update(dict.fromkeys(_names(each), _zip_member(each, stop)))
    return Listing(members)


def list_tar(file: IO[bytes]) -> Listing:
    """Return the members of a plain tar, in one pass over its headers.

    Raises
    ------
    SampleError
        ``codec`` if it is compressed: nothing in it has a place of its own.
    tarfile.TarError
        If it is no tar.
    """
    _refuse_compressed(file.read(_BLOCK))
    file.seek(0)
    members: dict[str, Member] = {}
    broken = ""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        try:
            for each in _headers(archive):
                _add(members, each)
            file.seek(archive.offset)
            if file.read(_BLOCK).strip(b"\0"):  # an archive ends in zeros, or not at all
                broken = "a header is damaged"
        except tarfile.TarError as error:
            broken = str(error)
    return Listing(members, broken and f"it breaks off after {len(members)} members ({broken})")


def plain_name(name: str) -> str:
    """Return a member's name without the ``./`` that ``tar c .`` puts before it.

    >>> plain_name("./a/b.jpg"), plain_name("/a.jpg")
    ('a/b.jpg', 'a.jpg')
    """
    return name.removeprefix("./").lstrip("/")


def _zip_member(each: zipfile.ZipInfo, stop: int) -> ZipMember:
    most = each.header_offset + _LOCAL.size + 2 * _MOST_EXTRA + each.compress_size
    return ZipMember(
        each.header_offset,
        min(stop, most),  # members that were deleted leave holes
        each.file_size,
        each.compress_size,
        each.compress_type,
        each.CRC,
        each.flag_bits,
    )


def _names(each: zipfile.ZipInfo) -> Iterator[str]:
    """Yield a member's name, and what it is if it was UTF-8 without saying so (macOS)."""
    yield plain_name(each.filename)
    if not each.flag_bits & _UTF8 and not each.filename.isascii():
        try:
            yield plain_name(each.filename.encode("cp437").decode("utf-8"))
        except UnicodeError:
            return


def _refuse_compressed(beginning: bytes) -> None:
    for method, (at, sign) in _COMPRESSED.items():
        if beginning[at:].startswith(sign):
            message = f"the archive is compressed by {method}, so its members cannot be read alone"
            raise SampleError("codec", f"{message}; unpack it to a plain tar")


def _headers(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (each := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # otherwise all are kept, a kilobyte each
        yield each


def _add(members: dict[str, Member], each: tarfile.TarInfo) -> None:
    if each.islnk():
        if plain_name(each.linkname) in members:
            members[plain_name(each.name)] = members[plain_name(each.linkname)]
    elif each.isreg() and not each.issparse():
        start, stop = each.offset_data - _BLOCK, each.offset_data + each.size
        members[plain_name(each.name)] = TarMember(start, stop, each.size, each.chksum)


def _checksum(head: bytes) -> int:
    """Return the sum that is written in a header's block."""
    return tarfile.nti(head[148:156])  # type: ignore[attr-defined,no-any-return]  # not in its stub
