"""Masks: the values of a picture file as they are, of which nothing may be interpreted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from daskimg.decode._faults import contained
from daskimg.decode._files import DEEP_GREY, Opened, open_file
from daskimg.decode._orientation import TURNS
from daskimg.errors import SampleError
from daskimg.options import MAX_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

_CHANNELS = {"1": 1, "L": 1, "P": 1, "RGB": 3} | dict.fromkeys(DEEP_GREY - {"F"}, 1)
_SPREAD = {"L;2": 85, "L;4": 17}  # what Pillow multiplies the levels of shallow grey by


def decode_mask(
    content: bytes,
    *,
    channels: int = 1,
    dtype: Literal["uint8", "uint16"] = "uint8",
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[Any]:
    """Return the values in a mask's file: (height, width, channel), the caller's own.

    Of a palette the indices, of grey the levels: 0 and 1 for 1 bit, 0 to 15 for 4.
    Nothing is scaled, clipped, or looked up in a table. It is set upright by its own
    orientation, as pictures are.

    Parameters
    ----------
    content
        The whole file.
    channels
        1 for palettes and grey, 3 for RGB; a file of the other kind is refused.
    dtype
        Of the result. A value that it cannot hold is refused.
    size
        (height, width) that the mask must have, upright.
    max_pixels
        A mask whose header declares more is refused before memory is taken.

    Raises
    ------
    SampleError
        If the file is at fault.
    """
    with contained:
        file = open_file(content, max_pixels)
        _check_size(file, size)
        _check_mode(file, channels)
        return _values(file, np.dtype(dtype))


def _check_size(file: Opened, size: tuple[int, int] | None) -> None:
    if size is not None and (file.height, file.width) != size:
        raise SampleError(
            "size",
            f"a mask of {file.width} x {file.height} for a picture of {size[1]} x {size[0]}",
        )


def _check_mode(file: Opened, channels: int) -> None:
    found = _CHANNELS.get(file.mode)
    if found is None:
        raise SampleError("mode", f"a mask of mode {file.mode}; save it as palette, grey or RGB")
    if found != channels:
        raise SampleError(
            "mode", f"a mask of mode {file.mode} has {found} channels, not {channels}"
        )
    if file.deep and file.mode not in DEEP_GREY:
        raise SampleError("mode", "a mask of 16 bits a channel, of which Pillow keeps 8")


def _values(file: Opened, dtype: np.dtype[Any]) -> NDArray[Any]:
    spread = _SPREAD.get(_rawmode(file).rstrip("IR"), 1)  # inverted, or its bits reversed
    file.image.load()
    upright: Image.Image = file.image
    if file.orientation in TURNS:
        upright = upright.transpose(TURNS[file.orientation])
    values = np.asarray(upright)
    if values.dtype.itemsize > dtype.itemsize:
        _check_range(values, dtype)
    levels = np.array(values, dtype, order="C")
    levels //= spread
    return levels if levels.ndim == 3 else levels[:, :, None]


def _rawmode(file: Opened) -> str:
    """Return how the pixels are packed, which only an unloaded file tells."""
    args = file.image.tile[0][3] if file.image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _check_range(values: NDArray[Any], dtype: np.dtype[Any]) -> None:
    least, greatest = int(values.min()), int(values.max())
    if least < 0 or greatest > np.iinfo(dtype).max:
        advice = "; say dtype = 'uint16'" if dtype == np.uint8 and least >= 0 else ""
        raise SampleError("mode", f"a mask of values {least} to {greatest}, over {dtype}{advice}")
