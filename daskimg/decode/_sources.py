"""A file's bytes become a picture, and what the ledger says of the file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import PIL
from PIL import Image, features

from daskimg.decode._colours import coloured
from daskimg.decode._faults import contained
from daskimg.decode._files import DEEP_GREY, JPEG, Jpeg, Opened, open_file
from daskimg.decode._jpeg import decode_frame, read_frame, read_stored_frame
from daskimg.decode._orientation import SWAPPED, TURNS
from daskimg.decode._picture import Picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskimg.options import DecodeOptions

    Least = Callable[[int, int], tuple[int, int]]

_WHOLE = 1 << 24  # pixels up to which all are decoded at once: Pillow needs less memory for more
_GAP = 2  # reduced pixels to each one needed, as Image.thumbnail's reducing_gap
_LIBRARIES = {
    "webp": "webp",
    "avif": "avif",
    "openjpeg": "jpg_2000",
    "libtiff": "libtiff",
    "littlecms": "littlecms2",
}


@dataclass(frozen=True, slots=True)
class Source:
    """What the ledger says of a picture's file.

    Attributes
    ----------
    width, height
        In pixels, after EXIF orientation.
    mode
        Pillow's mode as stored in the file: ``RGB``, ``L``, ``P``, ``CMYK``, ``I;16`` ...
    reduced
        Whether the file held more than 8 bits a channel of which the output keeps 8.
    swapped
        Whether it is stored on its side: its stored size is (height, width).
    """

    width: int
    height: int
    mode: str
    reduced: bool
    swapped: bool = False


def decode(
    content: bytes, options: DecodeOptions, least: Least | None = None
) -> tuple[Picture, Source]:
    """Return the picture in a file's bytes, and what the file held.

    Parameters
    ----------
    content
        The whole file.
    options
        What the picture is to be.
    least
        Maps the source's (height, width) to the fewest pixels, (height, width), that are of
        use. Unless ``options.exact``, a JPEG is then decoded at some eighths of its size, to
        at least twice that.

    Raises
    ------
    SampleError
        If the file is at fault.
    """
    least = None if options.exact else least
    found = _everyday(content, options, least) if options.dtype == "uint8" else None
    if found is not None:
        return found
    with contained:
        file = open_file(content, options.max_pixels)
    # Outside: an exception of the caller's own function is no fault of the file.
    needed = least(file.height, file.width) if least else None
    with contained:
        return _picture(file, options, needed), source_of(file, options)


def _everyday(
    content: bytes, options: DecodeOptions, least: Least | None
) -> tuple[Picture, Source] | None:
    """Return the picture in a JPEG of the common kind, or ``None`` to have Pillow look."""
    frame = read_frame(content) if content.startswith(JPEG) else None
    if frame is None or frame.height * frame.width > options.max_pixels:
        return None
    if options.channels == 1 and not frame.grey:
        return None
    needed = _doubled(least(frame.height, frame.width)) if least else None
    if needed is None and frame.height * frame.width > _WHOLE:
        return None
    decoded = decode_frame(content, frame, needed)
    if decoded is None:
        return None
    pixels, eighths = decoded
    size = frame.height, frame.width
    source = Source(frame.width, frame.height, "L" if frame.grey else "RGB", reduced=False)
    return Picture(pixels, options.channels, size, 8 / eighths), source


def _doubled(needed: tuple[int, int]) -> tuple[int, int]:
    return max(1, _GAP * needed[0]), max(1, _GAP * needed[1])


def read_header(content: bytes, options: DecodeOptions) -> Source:
    """Return what ``decode`` would say of a file, without decoding a pixel.

    Raises
    ------
    SampleError
        If the header is at fault. Broken pixels are found by ``decode`` only.
    """
    source = declared(content, options)
    if source is not None:
        return source
    with contained:
        return source_of(open_file(content, options.max_pixels), options)


def declared(content: bytes, options: DecodeOptions) -> Source | None:
    """Return what an everyday JPEG declares, without Pillow; ``None`` of any other file."""
    found = read_stored_frame(content) if content.startswith(JPEG) else None
    if found is None:
        return None
    (height, width, grey), orientation = found
    if height * width > options.max_pixels:
        return None
    swapped = orientation in SWAPPED
    if swapped:
        height, width = width, height
    return Source(width, height, "L" if grey else "RGB", reduced=False, swapped=swapped)


def decoder_versions() -> dict[str, str]:
    """Return the versions of all that may change the bits of a decoded picture.

    >>> decoder_versions()["decoder"]
    'pillow'
    """
    turbo = features.version("libjpeg_turbo")
    jpeg = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    found = {"decoder": "pillow", "pillow": PIL.__version__, "libjpeg": jpeg}
    found["simplejpeg"] = version("simplejpeg")
    for name, feature in _LIBRARIES.items():
        found[name] = features.version(feature) or "none"
    return found


def source_of(file: Opened, options: DecodeOptions) -> Source:
    """Return what the ledger says of an opened file."""
    reduced = file.deep and (options.dtype == "uint8" or file.mode not in DEEP_GREY)
    return Source(file.width, file.height, file.mode, reduced, file.swapped)


def _picture(file: Opened, options: DecodeOptions, needed: tuple[int, int] | None) -> Picture:
    scale = 1 if options.exact else _drafted(file, options, needed)
    file.image.load()
    upright: Image.Image = file.image
    if file.orientation in TURNS:
        # Before it is resized: resizing rounds after each axis, so the order shows in the bits.
        upright = upright.transpose(TURNS[file.orientation])
    pixels = coloured(upright, options)
    if scale == 1:
        return Picture(pixels, options.channels)
    size = file.height, file.width
    return Picture(pixels, options.channels, size, scale, _origin(file, upright, scale))


def _drafted(file: Opened, options: DecodeOptions, needed: tuple[int, int] | None) -> int:
    """Have a JPEG decoded to less, if less will do; return the scale."""
    image = file.image
    if not isinstance(image, Jpeg):
        return 1
    grey = "L" if options.channels == 1 and image.mode == "RGB" else None
    if needed is None:
        size = None
    else:
        height, width = _doubled(needed)
        size = (height, width) if file.orientation in SWAPPED else (width, height)
    if grey is None and size is None:
        return 1
    full = image.size[0]
    drafted = image.draft(grey, size)
    return round(full / drafted[1][2]) if drafted else 1


def _origin(file: Opened, upright: Image.Image, scale: int) -> tuple[float, float]:
    """Return where the logical (0, 0) lies in the reduced pixels, turned upright.

    The last column and row of a JPEG's reduced pixels reach beyond the picture. A picture
    that was turned has them at its left or its top.
    """
    across = upright.width - file.width / scale if file.orientation in (2, 3, 6, 7) else 0.0
    down = upright.height - file.height / scale if file.orientation in (3, 4, 7, 8) else 0.0
    return across, down
