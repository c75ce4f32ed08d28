"""From bytes to an opened Pillow file: of which format, how large, and no pixel decoded."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, JpegImagePlugin

from daskimg.decode._faults import sample_error
from daskimg.decode._orientation import SWAPPED, read_orientation
from daskimg.errors import SampleError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

DEEP_GREY = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})
"""Pillow's modes of more than 8 bits; it keeps no colour deeper than that."""

JPEG = b"\xff\xd8\xff"
_NOT_DRAWN = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
_UNIDENTIFIED = (SyntaxError, IndexError, TypeError, struct.error)
_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_JPEG_XL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")
_ORIENTATION = 0x0112  # the TIFF tag
_SPREAD = {"L;2": 85, "L;4": 17}  # what the levels of a shallow PNG are multiplied by


class Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG, or the first picture of an MPO, by its own header alone.

    Pillow's factory also reads the index of further pictures, and its class the whole EXIF
    in search of a resolution: time and warnings for what is not used.
    """

    def _read_dpi_from_exif(self) -> None:
        """Look for no resolution."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened file.

    Attributes
    ----------
    image
        Not yet loaded.
    height, width
        In pixels, upright.
    mode
        Pillow's mode, as stored.
    orientation
        What is still to be done to set ``image`` upright once it is loaded.
    deep
        Whether the file is known to hold more than 8 bits a channel.
    swapped
        Whether it is stored on its side.
    """

    image: ImageFile
    height: int
    width: int
    mode: str
    orientation: int
    deep: bool
    swapped: bool


def open_file(content: bytes, max_pixels: int) -> Opened:
    """Return the picture in ``content``, opened and measured.

    Raises
    ------
    SampleError
        If it is empty, no picture, of a format that is not built in, or over the limit.
    """
    if not content:
        raise SampleError("empty", "the file has no bytes")
    _raise_limit_of_pillow(max_pixels)
    try:
        image = _identified(content)
    except Image.DecompressionBombError as error:  # a plugin's own check
        raise SampleError("pixels", f"{sample_error(error).message} of {max_pixels}") from error
    stored = _stored(image)
    _mend_transparency(image, stored)
    height, width, orientation, swapped = _upright(image, content)
    if height * width > max_pixels:
        raise SampleError("pixels", f"{width} x {height} pixels, over the limit of {max_pixels}")
    return Opened(image, height, width, image.mode, orientation, stored.deep, swapped)


def _upright(image: ImageFile, content: bytes) -> tuple[int, int, int, bool]:
    """Return the upright height and width, what is still to be undone, and if they were swapped.

    The third is an orientation; the last tells whether the picture is stored on its side.
    """
    width, height = image.size
    orientation = read_orientation(image.info, content)
    turned = swapped = orientation in SWAPPED
    if hasattr(image, "tag_v2"):
        # Pillow sets a TIFF upright as it loads it. Its size is swapped by now if the TIFF's
        # own tag says so, but not if only the XMP does.
        turned = turned and image.tag_v2.get(_ORIENTATION) is None
        orientation = 1
    height, width = (width, height) if turned else (height, width)
    return height, width, orientation, swapped


_LOCK = threading.Lock()


def _raise_limit_of_pillow(max_pixels: int) -> None:
    """Let Pillow's plugins open what our limit allows; ours is checked besides.

    Pillow refuses over twice a global of its own. It is raised only where it must be, and
    never lowered again: another thread may be in the middle of a picture that needs it.
    """
    own = Image.MAX_IMAGE_PIXELS
    if own is not None and 2 * own < max_pixels:
        with _LOCK:
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, -(-max_pixels // 2))


def _identified(content: bytes) -> ImageFile:
    """Do what ``Image.open`` does, but keep what the plugin said that knew the format.

    ``Image.open`` also checks its own limit, before the size can be put into a message.
    """
    if content.startswith(JPEG):
        try:
            jpeg = Jpeg(BytesIO(content))
        except _UNIDENTIFIED as error:
            return _searched(content, [_refusal("JPEG", error)])
        jpeg.decodermaxblock = len(content)  # handed over whole, it is not copied
        return jpeg
    return _searched(content, [])


def _searched(content: bytes, heard: list[SampleError]) -> ImageFile:
    """Ask one plugin after the other; ``heard`` is what the better ones have said so far."""
    Image.preinit()  # first, so that the order of plugins does not depend on who was here before
    Image.init()
    for name in tuple(Image.ID):
        image = None if name == "JPEG" else _tried(name, content, heard)
        if image is not None:
            return image
    raise heard[0] if heard else _unknown(content)


def _tried(name: str, content: bytes, heard: list[SampleError]) -> ImageFile | None:
    factory, accept = Image.OPEN[name]
    known = accept(content[:16]) if accept else None
    if isinstance(known, str):
        heard.append(SampleError("codec", f"{name}: {known}"))
        return None
    if accept and not known:
        return None
    if name in _NOT_DRAWN:
        heard.append(SampleError("codec", f"{name}: Pillow cannot draw it by itself"))
        return None
    try:
        return factory(BytesIO(content), "")
    except _UNIDENTIFIED as error:
        if known:
            heard.append(_refusal(name, error))
        return None


def _refusal(name: str, error: Exception) -> SampleError:
    fault = sample_error(error)
    return SampleError(fault.reason, f"{name}: {fault.message}")


def _unknown(content: bytes) -> SampleError:
    if content[4:8] == b"ftyp" and content[8:12] in _BRANDS:
        return SampleError("codec", "HEIF, for which this Pillow has no codec")
    if content.startswith(_JPEG_XL):
        return SampleError("codec", "JPEG XL, for which this Pillow has no codec")
    return SampleError("format", f"not a picture: begins with {repr(content[:16])[1:]}")


class _Stored(NamedTuple):
    """How the file packs a pixel: Pillow's name for it, and whether in more than 8 bits."""

    rawmode: str
    deep: bool


def _stored(image: ImageFile) -> _Stored:
    if not image.tile:
        return _Stored("", image.mode in DEEP_GREY)
    codec, _, _, args = image.tile[0]
    rawmode = str(args[0] if isinstance(args, tuple) and args else args)
    greatest = args[-1] if codec.startswith("ppm") and isinstance(args, tuple) else 255
    wide = codec == "SGI16" or (isinstance(greatest, int) and greatest > 255)
    return _Stored(rawmode, image.mode in DEEP_GREY or ";16" in rawmode or wide)


def _mend_transparency(image: ImageFile, stored: _Stored) -> None:
    """Bring a PNG's transparent colour to the scale of Pillow's pixels, which it leaves out."""
    colour = image.info.get("transparency")
    if isinstance(colour, int) and stored.rawmode == "1":
        image.info["transparency"] = 255 if colour else 0  # Pillow 11 leaves this out too
    elif isinstance(colour, int) and stored.rawmode in _SPREAD:
        image.info["transparency"] = colour * _SPREAD[stored.rawmode]
    elif isinstance(colour, tuple) and stored.rawmode == "RGB;16B":
        image.info["transparency"] = tuple(level >> 8 for level in colour)
