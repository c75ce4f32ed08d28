"""Arrays become files: PNG, which keeps every pixel, and JPEG."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray


def encode_png(image: NDArray[Any]) -> bytes:
    """Return a picture as a PNG file.

    Parameters
    ----------
    image : (height, width, channel)
        uint8 of 1 or 3 channels, or uint16 of 1.
    """
    file = BytesIO()
    _pillow(image).save(file, "PNG")
    return file.getvalue()


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """Return a picture as a JPEG file, its colours at half the resolution as is usual.

    Parameters
    ----------
    image : (height, width, channel)
        uint8 of 1 or 3 channels.
    quality
        1 to 100.
    """
    file = BytesIO()
    _pillow(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _pillow(image: NDArray[Any]) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def encode_thumbnail(pixels: NDArray[Any], side: int = 96) -> bytes:
    """Return a sample as a JPEG of at most ``side`` pixels a side: a few KB, for people.

    Parameters
    ----------
    pixels : (height, width, channel)
        uint8; uint16; or float32, of which 0..1 is shown. Of two channels, or of more than
        three, the first is taken.
    side
        In pixels; a smaller picture keeps its size.
    """
    if pixels.dtype == np.uint16:
        pixels = pixels >> 8
    elif pixels.dtype != np.uint8:
        pixels = np.nan_to_num(pixels).clip(0, 1) * 255
    levels = np.ascontiguousarray(pixels, np.uint8)
    image = _pillow(levels if levels.shape[2] == 3 else levels[:, :, :1])
    image.thumbnail((side, side))
    file = BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()
