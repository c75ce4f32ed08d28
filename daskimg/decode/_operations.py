"""What Pillow does to the levels of a picture: its own functions, so its own bits.

All take and give 8-bit pictures of 1 or 3 channels, see ``Picture.through``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageEnhance, ImageOps

if TYPE_CHECKING:
    from daskimg.decode._picture import Picture


def grey(picture: Picture, channels: int) -> Picture:
    """Return ITU-R 601-2 luma, (19595 R + 38470 G + 7471 B + 32768) // 65536, in each channel."""
    return picture.through(lambda image: image.convert("L"), channels)


def autocontrast(picture: Picture, cutoff: float) -> Picture:
    """Return each channel stretched to 0..255, ``cutoff`` percent of it cut off at each end."""
    return picture.through(lambda image: ImageOps.autocontrast(image, cutoff))


def equalize(picture: Picture) -> Picture:
    """Return each channel with a histogram as even as a map of levels can make it."""
    return picture.through(ImageOps.equalize)


def enhance(picture: Picture, brightness: float, contrast: float, saturation: float) -> Picture:
    """Return the picture blended with black, then with its mean grey, then with its own grey.

    Factors are those of ``PIL.ImageEnhance``: 1 changes nothing, 0 gives the other picture.
    """

    def changed(image: Image.Image) -> Image.Image:
        image = ImageEnhance.Brightness(image).enhance(brightness)
        image = ImageEnhance.Contrast(image).enhance(contrast)
        return ImageEnhance.Color(image).enhance(saturation)

    return picture.through(changed)
