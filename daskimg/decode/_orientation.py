"""Which way up: the EXIF orientation, read without the rest of the EXIF.

Pillow's ``getexif`` reads every tag, warns about broken ones and may refuse the file.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

_TAG = 0x0112
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # TIFF's types of field that can hold an orientation
_MARK = re.compile(rb"(Exif\x00\x00){1,2}")
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_ORDERS = {b"II\x2a\x00": "<", b"MM\x00\x2a": ">"}

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a stored picture upright, by its orientation."""

SWAPPED = frozenset({5, 6, 7, 8})
"""Orientations of pictures that are stored on their side."""


def read_orientation(metadata: Mapping[Any, Any], content: bytes) -> int:
    """Return the orientation, 1 to 8; 1 where there is none or it cannot be read.

    Parameters
    ----------
    metadata
        Pillow's ``info`` of the opened file.
    content
        The file, since a PNG may carry its EXIF behind the pixels.
    """
    exif = metadata.get("exif")
    if not isinstance(exif, bytes):  # a PNG may call a text of its own so
        exif = _hexadecimal(metadata.get("Raw profile type exif"))
    if exif is None and content.startswith(b"\x89PNG"):
        exif = _late_chunk(content)
    found = _in_exif(exif) if exif else None
    found = _in_xmp(metadata) if found is None else found
    return found if found in TURNS else 1


def _in_exif(exif: bytes) -> int | None:
    mark = _MARK.match(exif)
    tiff = exif[mark.end() :] if mark else exif
    order = _ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return None
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return None
    (entries,) = struct.unpack_from(f"{order}H", tiff, start)
    found = None
    for at in range(start + 2, min(start + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", tiff, at)
        if tag == _TAG and kind in _INTEGERS and count == 1:
            (found,) = struct.unpack_from(f"{order}{_INTEGERS[kind]}", tiff, at + 8)
    return found


def _in_xmp(metadata: Mapping[Any, Any]) -> int | None:
    xmp = metadata.get("XML:com.adobe.xmp") or metadata.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "replace")
    match = _XMP.search(xmp) if isinstance(xmp, bytes) else None
    return int(match[1]) if match else None


def _hexadecimal(profile: object) -> bytes | None:
    """Return the EXIF of ImageMagick's text chunk: three lines of heading, then hex."""
    if not isinstance(profile, str):
        return None
    try:
        return bytes.fromhex("".join(profile.split("\n")[3:]))
    except ValueError:
        return None


def _late_chunk(content: bytes) -> bytes | None:
    """Return a PNG's eXIf chunk, wherever it is: ImageMagick writes it behind the pixels."""
    at = 8
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"eXIf":
            return content[at + 8 : at + 8 + length]
        at += 12 + length
    return None
