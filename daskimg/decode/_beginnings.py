"""A picture's size and mode from the beginning of its file: exactly what the whole would say.

Whatever the beginning does not settle beyond doubt is left to the whole file.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from daskimg.decode._faults import contained
from daskimg.decode._files import JPEG, open_file
from daskimg.decode._sources import Source, declared, source_of
from daskimg.errors import SampleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskimg.options import DecodeOptions

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = {b"II\x2a\x00": "<", b"MM\x00\x2a": ">"}
_FIELDS = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)  # bytes of a TIFF's value, by its type


def read_beginning(
    content: bytes, options: DecodeOptions, end: Callable[[], bytes]
) -> Source | None:
    """Return what ``read_header`` would say of a file, from its first bytes.

    ``None`` if these do not tell: more of the file is needed, or all of it to say what is
    wrong with it.

    Parameters
    ----------
    content
        The beginning of the file.
    options
        What the picture is to be.
    end
        Returns the file's last bytes. It is asked where they matter: a PNG may carry its
        orientation behind the pixels. It is found if no more than these bytes lie there.
    """
    source = declared(content, options)
    if source is not None:
        return source
    beginning = _whole_header(content, end)
    if beginning is None:
        return None
    try:
        with contained:
            file = open_file(beginning, options.max_pixels)
    except SampleError:
        return None  # the whole file's own words count, if it has the same fault
    tile = file.image.tile
    if not tile or tile[0].offset >= len(beginning):
        return None
    return source_of(file, options)


def _whole_header(content: bytes, end: Callable[[], bytes]) -> bytes | None:
    """Return bytes that Pillow measures as it would the whole file, if these can be had.

    Formats that are not named here are opened from the whole file only.
    """
    if content.startswith(_PNG):
        return _png(content, end)
    if content[:4] in _TIFF:
        return content if _holds_directory(content, _TIFF[content[:4]]) else None
    return content if content.startswith((JPEG, b"GIF8", b"BM")) else None


def _png(content: bytes, end: Callable[[], bytes]) -> bytes | None:
    """Return a PNG up to its pixels, and behind these its orientation, if it is there."""
    at, has_exif = len(_PNG), False
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"IDAT":
            late = b"" if has_exif else _late_exif(end())
            return content[:at] + _chunk(b"IDAT", b"") + late
        has_exif = has_exif or name == b"eXIf"
        at += 12 + length
    return None


def _late_exif(end: bytes) -> bytes:
    """Return the first eXIf chunk among a PNG's last bytes; its checksum tells it from pixels."""
    at = end.find(b"eXIf")
    while at >= 0:
        chunk = end[at - 4 :] if at >= 4 else b""
        length = int.from_bytes(chunk[:4], "big")
        found = _chunk(b"eXIf", chunk[8 : 8 + length])
        if chunk.startswith(found):
            return found
        at = end.find(b"eXIf", at + 1)
    return b""


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _holds_directory(content: bytes, order: str) -> bool:
    """Tell whether a TIFF's first directory, and all that it points at but pixels, is there."""
    if len(content) < 8:
        return False
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    if start + 2 > len(content):
        return False
    (entries,) = struct.unpack_from(f"{order}H", content, start)
    stop = start + 2 + 12 * entries
    if stop + 4 > len(content):
        return False
    for at in range(start + 2, stop, 12):
        _, kind, count, place = struct.unpack_from(f"{order}HHII", content, at)
        size = count * (_FIELDS[kind] if kind < len(_FIELDS) else 8)
        if size > 4 and place + size > len(content):
            return False
    return True
