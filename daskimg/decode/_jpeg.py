"""Ordinary JPEGs by libjpeg-turbo itself, at any eighth of their size.

Pillow reads the header in Python, holding the interpreter's lock, copies each line once more,
and reduces to 1/2, 1/4 and 1/8 only. Here are the same library and the same decoding, without
that. Whatever is not an
everyday JPEG, or makes libjpeg as much as warn, is left to Pillow, whose verdict counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import simplejpeg

from daskimg.decode._orientation import read_orientation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive; all with Huffman coding
_ALONE = {0x01, *range(0xD0, 0xDA)}  # markers without a length: no segment has those
_EXIF, _XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00"


class Frame(NamedTuple):
    """What the header of an everyday JPEG declares: grey or three colours, of 8 bits, upright."""

    height: int
    width: int
    grey: bool


def read_frame(content: bytes) -> Frame | None:
    """Return what a file declares, or ``None`` if it is nothing that is read here."""
    found = read_stored_frame(content)
    return found[0] if found and found[1] == 1 else None


def read_stored_frame(content: bytes) -> tuple[Frame, int] | None:
    """Return what a file declares, not set upright, and its orientation, 1 to 8.

    ``None`` if it is no everyday JPEG, or ``content`` ends before its frame.
    """
    found: dict[str, bytes] = {}
    for marker, start, stop in _segments(content):
        if marker in _FRAMES:
            frame = _frame(content[start:stop])
            orientation = read_orientation(found, content) if found else 1
            return (frame, orientation) if frame else None
        if marker == 0xE1 and content.startswith(_EXIF, start):
            found.setdefault("exif", content[start:stop])
        elif marker == 0xE1 and content.startswith(_XMP, start):
            found["xmp"] = content[start:stop]
    return None


def _segments(content: bytes) -> list[tuple[int, int, int]]:
    """Return the segments up to the frame's: their markers, and where their contents lie."""
    found: list[tuple[int, int, int]] = []
    at, marker = 2, 0
    while marker not in _FRAMES and at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        stop = at + 2 + (content[at + 2] << 8 | content[at + 3])
        if marker in _ALONE or stop > len(content):
            break
        found.append((marker, at + 4, stop))
        at = stop
    return found


def _frame(segment: bytes) -> Frame | None:
    if len(segment) < 6:
        return None
    precision, components = segment[0], segment[5]
    height, width = segment[1] << 8 | segment[2], segment[3] << 8 | segment[4]
    if precision != 8 or components not in (1, 3) or not height or not width:
        return None
    return Frame(height, width, components == 1)


def decode_frame(
    content: bytes, frame: Frame, least: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], int] | None:
    """Return the pixels at the fewest eighths that give ``least`` of them, and the eighths.

    (height, width, channel), of one channel or three. With ``None`` all eight: the same bits
    as Pillow's, whose library and settings these are. ``None`` if libjpeg finds anything to
    say against the file.
    """
    eighths = 8
    if least is not None:
        eighths = next((m for m in range(1, 8) if _covers(frame, m, least)), 8)
    height, width = _reduced(frame.height, eighths), _reduced(frame.width, eighths)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content,
            "GRAY" if frame.grey else "RGB",
            fastdct=False,
            fastupsample=False,
            min_height=height,
            min_width=width,
        )
    except ValueError:
        return None
    return (pixels, eighths) if pixels.shape[:2] == (height, width) else None


def _covers(frame: Frame, eighths: int, least: tuple[int, int]) -> bool:
    return (
        _reduced(frame.height, eighths) >= least[0] and _reduced(frame.width, eighths) >= least[1]
    )


def _reduced(length: int, eighths: int) -> int:
    """Return the length that libjpeg gives: the last pixel may be part of one."""
    return -(-length * eighths // 8)
