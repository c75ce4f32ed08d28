"""Windows of a large TIFF: a smaller TIFF is cut out of it, and decoded like any other.

A TIFF keeps its pixels in tiles or strips, each compressed for itself. Those that a window
touches, with the header they need, are a TIFF of their own: nothing is decoded to make it, so
any compression that the ordinary decoder knows will do, and the bits are the decoder's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from PIL import TiffImagePlugin

from daskimg.decode._faults import contained
from daskimg.decode._files import DEEP_GREY
from daskimg.decode._orientation import TURNS, read_orientation
from daskimg.decode._picture import Picture
from daskimg.decode._sources import Source, decode
from daskimg.errors import SampleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from daskimg.options import DecodeOptions

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _JPEG_TABLES = 322, 323, 324, 325, 347
_ORIENTATION, _FILL_ORDER, _PREDICTOR, _PALETTE, _EXTRA, _FORMAT = 274, 266, 317, 320, 338, 339
_SUBSAMPLING = 530

_RAW, _JPEG, _YCBCR, _SEPARATE = 1, 7, 6, 2
_COMPRESSIONS = {_RAW, 5, _JPEG, 8, 32773, 32946, 34925, 50000}
"""None, LZW, JPEG, both deflates, PackBits, LZMA, Zstandard: each piece stands alone."""
_MODES = {"L", "P", "RGB", "RGBA", "I;16", "I;16B"}  # pixels are coloured one by one
_KEPT = (
    _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _PLANAR, _PREDICTOR, _PALETTE,
    _EXTRA, _FORMAT, _SUBSAMPLING,
)  # fmt: skip
_SHORT, _LONG, _BYTES = 3, 4, 7  # TIFF's types of field
_Tags = dict[int, tuple[int, ...]]


class _Part(NamedTuple):
    """A rectangle of a picture, and the file's pieces that hold it."""

    height: int
    width: int
    tags: _Tags
    pieces: list[bytes]


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Tiles or compressed strips: a grid of pieces that are decoded whole."""

    size: tuple[int, int]
    piece: tuple[int, int]
    planes: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    tiled: bool

    def covered(self, top: int, left: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Return top, left, height and width of what the pieces of a window hold."""
        tall, wide = self.piece
        first, start = top // tall * tall, left // wide * wide
        last = min(_ceil(top + height, tall) * tall, self.size[0])
        stop = min(_ceil(left + width, wide) * wide, self.size[1])
        return first, start, last - first, stop - start

    def read(self, file: BinaryIO, top: int, left: int, height: int, width: int) -> _Part:
        """Return the pieces of a rectangle that they cover exactly."""
        tall, wide = self.piece
        numbers = self._numbers(
            range(top // tall, _ceil(top + height, tall)),
            range(left // wide, _ceil(left + width, wide)),
        )
        pieces = [_bytes_at(file, self.offsets[at], self.counts[at]) for at in numbers]
        tags: _Tags = {_STRIP_ROWS: (tall,)}
        if self.tiled:
            tags = {_TILE_WIDTH: (wide,), _TILE_HEIGHT: (tall,)}
        return _Part(height, width, tags, pieces)

    def _numbers(self, rows: range, columns: range) -> list[int]:
        """Return which pieces these rows and columns of the grid are, plane by plane."""
        down, across = _ceil(self.size[0], self.piece[0]), _ceil(self.size[1], self.piece[1])
        return [
            (plane * down + row) * across + column
            for plane in range(self.planes)
            for row in rows
            for column in columns
        ]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Strips without compression: any part of a row can be read by itself."""

    strip: int  # rows
    strips: int  # of a plane
    planes: int
    offsets: tuple[int, ...]
    row: int  # bytes
    pixel: int  # bytes

    def covered(self, top: int, left: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the window itself."""
        return top, left, height, width

    def read(self, file: BinaryIO, top: int, left: int, height: int, width: int) -> _Part:
        """Return the bytes of a rectangle as one strip a plane."""
        pieces = [
            b"".join(
                _bytes_at(file, self._start(plane, row) + left * self.pixel, width * self.pixel)
                for row in range(top, top + height)
            )
            for plane in range(self.planes)
        ]
        return _Part(height, width, {_STRIP_ROWS: (height,)}, pieces)

    def _start(self, plane: int, row: int) -> int:
        return self.offsets[plane * self.strips + row // self.strip] + row % self.strip * self.row


class Windows:
    """Rectangles of one picture, each read by itself; for one thread at a time.

    Attributes
    ----------
    height, width
        Of the picture, in pixels.
    mode
        Pillow's mode as stored.
    options
        What the windows are.
    """

    def __init__(
        self,
        file: BinaryIO,
        mode: str,
        tags: Mapping[int, Any],
        order: str,
        layout: _Pieces | _Rows,
        options: DecodeOptions,
    ) -> None:
        """Keep the file, which stays the caller's to close."""
        self.height, self.width = int(tags[_HEIGHT]), int(tags[_WIDTH])
        self.mode = mode
        self.options = options
        self._file = file
        self._order = order
        self._layout = layout
        self._kept = {tag: _several(tags[tag]) for tag in _KEPT if tag in tags}
        self._tables = tags.get(_JPEG_TABLES)
        # The last pixels decoded: strips are as wide as the picture, and windows are mostly
        # read row by row. Without it a tile recipe would decode each strip for every tile.
        self._covered: tuple[int, int, int, int] | None = None
        self._whole: NDArray[Any] = np.empty((0, 0, 0))

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Return a window: (height, width, channel), the caller's own.

        The same bits as of the picture decoded whole. What is decoded is every tile, or
        compressed strip, that the window touches: ``options.max_pixels`` counts those.

        Raises
        ------
        SampleError
            If these parts of the file are at fault.
        ValueError
            If the window is empty or not inside the picture.
        """
        if min(top, left, height - 1, width - 1) < 0:
            raise ValueError(f"no window: {height} x {width} at ({top}, {left})")
        if top + height > self.height or left + width > self.width:
            raise ValueError(
                f"{height} x {width} at ({top}, {left}) is not in {self.height} x {self.width}"
            )
        covered = self._layout.covered(top, left, height, width)
        if covered != self._covered:
            self._whole, self._covered = self._decoded(covered), covered
        top, left = top - covered[0], left - covered[1]
        return self._whole[top : top + height, left : left + width].copy()

    def _decoded(self, covered: tuple[int, int, int, int]) -> NDArray[Any]:
        _, _, height, width = covered
        if height * width > self.options.max_pixels:
            limit = self.options.max_pixels
            raise SampleError(
                "pixels", f"a window of {width} x {height} pixels, over the limit of {limit}"
            )
        with contained:
            content = self._tiff(self._layout.read(self._file, *covered))
        return decode(content, self.options)[0].array()

    def _tiff(self, part: _Part) -> bytes:
        """Return a part as a file of its own: header, pieces, directory."""
        ends = list(accumulate(map(len, part.pieces), initial=8))
        tiled = _TILE_WIDTH in part.tags
        tags = self._kept | part.tags | {_WIDTH: (part.width,), _HEIGHT: (part.height,)}
        tags[_TILE_OFFSETS if tiled else _STRIP_OFFSETS] = tuple(ends[:-1])
        tags[_TILE_BYTES if tiled else _STRIP_BYTES] = tuple(map(len, part.pieces))
        place = ends[-1] + ends[-1] % 2  # a directory begins at an even place
        mark = b"II" if self._order == "<" else b"MM"
        header = mark + struct.pack(f"{self._order}HI", 42, place)
        padding = bytes(place - ends[-1])
        return b"".join((header, *part.pieces, padding, self._directory(tags, place)))

    def _directory(self, tags: _Tags, place: int) -> bytes:
        fields = {tag: self._field(tag, values) for tag, values in tags.items()}
        if self._tables:
            fields[_JPEG_TABLES] = _BYTES, len(self._tables), bytes(self._tables)
        entries, rest = struct.pack(f"{self._order}H", len(fields)), b""
        behind = place + 2 + 12 * len(fields) + 4
        for tag, (kind, count, value) in sorted(fields.items()):
            entries += struct.pack(f"{self._order}HHI", tag, kind, count)
            if len(value) <= 4:
                entries += value.ljust(4, b"\0")
            else:
                entries += struct.pack(f"{self._order}I", behind + len(rest))
                rest += value
        return entries + bytes(4) + rest

    def _field(self, tag: int, values: tuple[int, ...]) -> tuple[int, int, bytes]:
        kind, letter = (_SHORT, "H") if tag in _KEPT else (_LONG, "I")
        return kind, len(values), struct.pack(f"{self._order}{len(values)}{letter}", *values)


def open_windows(source: bytes | BinaryIO, options: DecodeOptions) -> Windows | None:
    """Return what reads a TIFF by windows, or ``None`` if it is no file for that.

    Tiled and stripped TIFFs, classic and Big, of 8-bit grey, palettes, RGB and RGBA, and of
    16-bit grey, that lie upright; without compression, or with LZW, deflate, PackBits, JPEG,
    LZMA or Zstandard. Anything else, and what is broken, is the ordinary decoder's.

    Parameters
    ----------
    source
        The whole file's bytes, or a binary file that can seek, of which little is read. It
        stays the caller's, and must be open for as long as windows are read.
    options
        What the windows are to be. ``max_pixels`` is the limit of each, not of the picture.
    """
    file = BytesIO(source) if isinstance(source, bytes) else source
    try:
        with contained:
            file.seek(0)
            image = TiffImagePlugin.TiffImageFile(file)
            layout = _layout(image, file)
    except SampleError:
        return None  # the ordinary decoder says why
    if layout is None:
        return None
    order = "<" if image.tag_v2.prefix == b"II" else ">"
    return Windows(file, image.mode, dict(image.tag_v2), order, layout, options)


class _Unread(Picture):
    """A part of a picture whose pixels are read when they are first asked for."""

    __slots__ = ("_left", "_read", "_top", "_windows")

    def __init__(self, windows: Windows, top: int, left: int, size: tuple[int, int]) -> None:
        options = windows.options
        self.height, self.width = size
        self.channels, self.dtype = options.channels, options.dtype
        self._scale, self._origin = 1, (0.0, 0.0)
        self._windows, self._top, self._left = windows, top, left
        self._read: NDArray[Any] | None = None

    @property
    def _pixels(self) -> NDArray[Any]:  # type: ignore[override]
        if self._read is None:
            self._read = self._windows.read(self._top, self._left, self.height, self.width)
        return self._read

    def window(self, top: int, left: int, height: int, width: int) -> Picture:
        self._check_inside(top, left, height, width)
        return _Unread(self._windows, self._top + top, self._left + left, (height, width))


def decode_by_windows(content: bytes, options: DecodeOptions) -> tuple[Picture, Source] | None:
    """Return a picture of which only the windows asked for are decoded, and what its file held.

    ``None`` if it is no file for that: see ``open_windows``. Whoever asks for more pixels at
    once than ``options.max_pixels`` meets a ``SampleError``.
    """
    windows = open_windows(content, options)
    if windows is None:
        return None
    reduced = windows.mode in DEEP_GREY and options.dtype == "uint8"
    source = Source(windows.width, windows.height, windows.mode, reduced)
    return _Unread(windows, 0, 0, (windows.height, windows.width)), source


def _layout(image: TiffImagePlugin.TiffImageFile, file: BinaryIO) -> _Pieces | _Rows | None:
    tags = dict(image.tag_v2)
    if not _ordinary(image, tags):
        return None
    tiled = _TILE_OFFSETS in tags
    height, width = tags[_HEIGHT], tags[_WIDTH]
    piece = (
        (tags[_TILE_HEIGHT], tags[_TILE_WIDTH])
        if tiled
        else (min(tags.get(_STRIP_ROWS, height), height), width)
    )
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANAR) == _SEPARATE else 1
    offsets = _several(tags[_TILE_OFFSETS if tiled else _STRIP_OFFSETS])
    counts = _several(tags[_TILE_BYTES if tiled else _STRIP_BYTES])
    down, across = _ceil(height, piece[0]), _ceil(width, piece[1])
    if not len(offsets) == len(counts) == planes * down * across or min(counts) < 1:
        return None  # a count of 0 is a tile left out, of which every reader thinks otherwise
    end = file.seek(0, 2)
    if any(at + count > end for at, count in zip(offsets, counts, strict=True)):
        return None
    if tiled or tags.get(_COMPRESSION, _RAW) != _RAW:
        return _Pieces((height, width), piece, planes, offsets, counts, tiled)
    return _rows(tags, piece[0], planes, offsets, counts)


def _ordinary(image: TiffImagePlugin.TiffImageFile, tags: Mapping[int, Any]) -> bool:
    """Tell whether a picture lies upright, and its pieces mean the same without the others."""
    compression = tags.get(_COMPRESSION, _RAW)
    return (
        image.mode in _MODES
        and compression in _COMPRESSIONS
        and (tags.get(_PHOTOMETRIC) != _YCBCR or compression == _JPEG)
        and tags.get(_ORIENTATION) not in TURNS
        and read_orientation(image.info, b"") == 1
        and not (_TILE_OFFSETS in tags and _STRIP_OFFSETS in tags)
    )


def _rows(
    tags: Mapping[int, Any],
    strip: int,
    planes: int,
    offsets: tuple[int, ...],
    counts: tuple[int, ...],
) -> _Rows | None:
    bits = _several(tags.get(_BITS, 1))
    bits = bits * tags.get(_SAMPLES, 1) if len(bits) == 1 else bits
    if any(depth not in (8, 16) or depth != bits[0] for depth in bits):
        return None
    pixel = sum(bits) // 8 if planes == 1 else bits[0] // 8
    row = pixel * tags[_WIDTH]
    strips = len(offsets) // planes
    last = tags[_HEIGHT] - (strips - 1) * strip
    for at, count in enumerate(counts):
        if count < row * (last if at % strips == strips - 1 else strip):
            return None
    return _Rows(strip, strips, planes, offsets, row, pixel)


def _bytes_at(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    found = file.read(count)
    if len(found) < count:
        raise SampleError("truncated", "the file ends within a tile")
    return found


def _ceil(length: int, piece: int) -> int:
    """Return how many pieces it takes."""
    return -(-length // piece)


def _several(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)
