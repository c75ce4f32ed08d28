"""Every mode of Pillow's becomes grey or RGB in the output's dtype, transparency composited."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from daskimg.decode._files import DEEP_GREY
from daskimg.errors import SampleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.options import DecodeOptions

_TOPS = {"uint8": 255, "uint16": 65535, "float32": 1}


def coloured(image: Image.Image, options: DecodeOptions) -> Image.Image | NDArray[Any]:
    """Return the pixels of a loaded picture, as 8-bit ``L`` or ``RGB`` where that is enough.

    Otherwise (height, width, channel) in ``options.dtype``. A grey picture keeps its one
    channel, also where three are wanted: they would be equal, and cost three times as much.
    """
    if image.mode in DEEP_GREY:
        return _deep(image, options)
    flat = _flat(image, options)
    if options.dtype == "uint8":
        return flat
    levels: NDArray[Any] = _table(options.dtype, 256, (0, 255))[np.asarray(flat)]
    return levels if levels.ndim == 3 else levels[:, :, None]


def _flat(image: Image.Image, options: DecodeOptions) -> Image.Image:
    if image.has_transparency_data:
        image = _over(image, options.background)
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image.convert("L") if options.channels == 1 and image.mode == "RGB" else image


def _over(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Return the picture as it looks in front of a colour."""
    if image.mode == "La":  # Pillow knows no way from here to RGBA
        image = image.convert("LA")
    upper = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(upper, mask=upper)
    return canvas


def _deep(image: Image.Image, options: DecodeOptions) -> Image.Image | NDArray[Any]:
    values = np.asarray(image)
    grey = _scaled(values, options)
    transparent = image.info.get("transparency")
    if transparent is not None:
        levels = np.repeat(grey[:, :, None], options.channels, axis=2)
        levels[values == transparent] = _colour(options)
        return levels
    return Image.fromarray(grey) if options.dtype == "uint8" else grey[:, :, None]


def _colour(options: DecodeOptions) -> NDArray[Any]:
    """Return the background in the output's channels and dtype."""
    pixel = Image.new("RGB", (1, 1), options.background)
    flat = np.asarray(pixel.convert("L") if options.channels == 1 else pixel)
    colour: NDArray[Any] = _table(options.dtype, 256, (0, 255))[flat.reshape(-1)]
    return colour


def _scaled(values: NDArray[Any], options: DecodeOptions) -> NDArray[Any]:
    """Return the levels of deep grey values; both are (height, width).

    Without a window 65535 becomes the greatest level, and nothing is clipped: to 8 bits by
    value / 257, rounded.
    """
    if options.window is None and values.dtype == np.float32 and options.dtype == "float32":
        return values
    if values.dtype.itemsize == 4 and options.window is None:
        values = _sixteen_bits(values)
    window = options.window or (0, 65535)
    if values.dtype.itemsize == 2:
        levels: NDArray[Any] = _table(options.dtype, 65536, window)[values]
        return levels
    return _levels(values.astype(np.float64), options.dtype, window)


def _sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    least, greatest = values.min(), values.max()
    if values.dtype == np.float32 or least < 0 or greatest > 65535:
        kind = "floating-point" if values.dtype == np.float32 else "32-bit"
        raise SampleError("mode", f"{kind} grey of {least} to {greatest}; give a window")
    return values.astype(np.uint16)


@lru_cache(maxsize=8)
def _table(dtype: str, length: int, window: tuple[float, float]) -> NDArray[Any]:
    """Return the level of every value below ``length``: (value,) in ``dtype``."""
    table = _levels(np.arange(length, dtype=np.float64), dtype, window)
    table.flags.writeable = False  # every thread's
    return table


def _levels(values: NDArray[np.float64], dtype: str, window: tuple[float, float]) -> NDArray[Any]:
    low, high = window
    share = np.clip((values - low) / (high - low), 0, 1)
    if dtype == "float32":
        return share.astype(np.float32)
    # No integer stands for "not a number": it becomes the least level.
    return np.rint(np.nan_to_num(share * _TOPS[dtype])).astype(dtype)
