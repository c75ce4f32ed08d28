"""Arrays become files: PNG, which keeps every pixel, and JPEG."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
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
