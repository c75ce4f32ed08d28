"""A decoded picture, in Pillow's form for as long as that is cheaper than an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from daskimg.decode._area import area_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from daskimg.options import Resampling

    Box = tuple[float, float, float, float]

_METHODS = {method.name.lower(): method for method in Image.Resampling}
_DTYPES = ("uint8", "uint16", "float32")
_NAMES = {np.dtype(name): name for name in _DTYPES}  # NumPy takes 5 us to spell one out
_BAND = 1 << 22  # pixels that are copied at once
_ROUNDING = 1e-9  # of a length: how far outside the picture a box may be by rounding alone


class Picture:
    """A picture of one dtype and any number of channels; never changed once it is made.

    Attributes
    ----------
    height, width
        Logical size in pixels: the source's, upright, also where a JPEG was decoded at a
        reduced scale. Boxes are in these coordinates.
    channels
        Length of the channel axis.
    dtype
        ``uint8``, ``uint16`` or ``float32``.
    """

    __slots__ = ("_origin", "_pixels", "_scale", "channels", "dtype", "height", "width")

    def __init__(
        self,
        pixels: Image.Image | NDArray[Any],
        channels: int,
        size: tuple[int, int] | None = None,
        scale: float = 1,
        origin: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Hold pixels of one channel or of ``channels``.

        ``size`` is the logical (height, width). The point (x, y) of it lies at
        ``origin + (x, y) / scale`` in ``pixels``.
        """
        if isinstance(pixels, Image.Image):
            self.width, self.height = pixels.size
            self.dtype = "uint8"
        else:
            self.height, self.width = pixels.shape[:2]
            self.dtype = _NAMES.get(pixels.dtype) or pixels.dtype.name
        if size is not None:
            self.height, self.width = size
        self.channels = channels
        self._pixels = pixels
        self._scale = scale
        self._origin = origin

    def __repr__(self) -> str:
        """Return the shape and the dtype."""
        reduced = f", decoded at {8 / self._scale:g}/8" if self._scale > 1 else ""
        return f"<Picture {self.height} x {self.width} x {self.channels} {self.dtype}{reduced}>"

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> Picture:
        """Return the picture in an array, which is not copied: change it no more.

        Parameters
        ----------
        array
            (height, width, channel) or (height, width); uint8, uint16 or float32.

        Raises
        ------
        ValueError
            If the array has another shape or dtype.
        """
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"a picture is of {', '.join(_DTYPES)}; got {array.dtype}")
        if array.ndim not in (2, 3) or 0 in array.shape:
            raise ValueError(f"a picture is (height, width, channel), got shape {array.shape}")
        pixels = np.asarray(array, array.dtype.newbyteorder("="))
        pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
        return cls(pixels, pixels.shape[2])

    def array(self) -> NDArray[Any]:
        """Return the pixels: (height, width, channel), C-contiguous, the caller's own copy.

        Raises
        ------
        ValueError
            If the picture was decoded at a reduced scale: there are no such pixels.
        """
        out = np.empty((self.height, self.width, self.channels), self.dtype)
        self.write(out)
        return out

    @property
    def scale(self) -> float:
        """How many times fewer pixels were decoded on each side than there are: 1 is all."""
        return self._scale

    def pixels(self) -> NDArray[Any]:
        """Return pixels to be looked at: (height, width, channel), read-only, rarely copied.

        Those of ``array``. Of a picture that was decoded at a reduced scale each is repeated,
        so that they fit the picture's own coordinates.
        """
        whole = self
        if self._scale > 1:
            whole = self.resized(self.height, self.width, method="nearest")
        return np.broadcast_to(whole._held(), (self.height, self.width, self.channels))

    def write(self, out: NDArray[Any]) -> None:
        """Copy the pixels into ``out``: (height, width, channel) of the picture's own dtype.

        Raises
        ------
        ValueError
            If ``out`` does not fit, or the picture was decoded at a reduced scale.
        """
        if self._scale > 1:
            raise ValueError(f"{self!r} has no pixels of its own size; use resized")
        if out.shape != (self.height, self.width, self.channels) or out.dtype != self.dtype:
            raise ValueError(f"{self!r} does not fit into {out.shape} of {out.dtype}")
        pixels = np.asarray(self._pixels)
        out[...] = pixels if pixels.ndim == 3 else pixels[:, :, None]

    def resized(
        self,
        height: int,
        width: int,
        *,
        box: Box | None = None,
        method: Resampling = "bicubic",
    ) -> Picture:
        """Return the picture, or a part of it, at another size.

        Parameters
        ----------
        height, width
            Of the result, in pixels.
        box
            (left, top, right, bottom) of the part, in logical pixels, inside the picture.
            It need not be whole.
        method
            How to resample; 8-bit pixels give Pillow's own bits. ``uint16`` is rounded and
            clipped, ``float32`` may overshoot. Pillow has no ``area``: the mean of what lies
            under a pixel, see ``daskimg.decode._area``.
        """
        if (height, width) == (self.height, self.width) and box is None and self._scale == 1:
            return self
        size = width, height
        inside = self._inside(box)
        if method == "area":
            return self._averaged(height, width, inside)
        if isinstance(self._pixels, Image.Image):
            return Picture(self._pixels.resize(size, _METHODS[method], inside), self.channels)
        pixels = _resized_array(self._pixels, size, _METHODS[method], inside)
        return Picture(pixels, self.channels)

    def _averaged(self, height: int, width: int, box: Box | None) -> Picture:
        pixels = np.asarray(self._pixels)
        pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
        whole = (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0]))
        return Picture(area_mean(pixels, height, width, box or whole), self.channels)

    def window(self, top: int, left: int, height: int, width: int) -> Picture:
        """Return a part of the picture, of whole pixels: a view, not a copy.

        Raises
        ------
        ValueError
            If the part does not lie inside the picture, or the picture was decoded at a
            reduced scale.
        """
        self._check_inside(top, left, height, width)
        pixels = self._held()
        return Picture(pixels[top : top + height, left : left + width], self.channels)

    def _check_inside(self, top: int, left: int, height: int, width: int) -> None:
        inside = 0 <= top < top + height <= self.height and 0 <= left < left + width <= self.width
        if not inside:
            raise ValueError(f"{self!r} has no {height} x {width} at row {top}, column {left}")

    def turned(self, quarters: int, *, mirror: bool = False) -> Picture:
        """Return the picture mirrored left to right, if asked, then turned: a view.

        Parameters
        ----------
        quarters
            Turns by 90 degrees, counter-clockwise.
        mirror
            Whether to exchange left and right first.

        Raises
        ------
        ValueError
            If the picture was decoded at a reduced scale.
        """
        pixels = self._held()
        return Picture(np.rot90(pixels[:, ::-1] if mirror else pixels, quarters), self.channels)

    def through(
        self, change: Callable[[Image.Image], Image.Image], channels: int | None = None
    ) -> Picture:
        """Return what a function makes of the picture in Pillow's form.

        Parameters
        ----------
        change
            Returns a picture of the same size, ``L`` or ``RGB``. A grey picture of three
            channels may come as ``L``: all of its channels are equal.
        channels
            Of the result, if not as many as now: ``L`` may become 1 or 3.

        Raises
        ------
        ValueError
            If the picture is not of 8 bits, has neither 1 nor 3 channels, or was decoded at
            a reduced scale.
        """
        if self._scale > 1 or self.dtype != "uint8" or self.channels not in (1, 3):
            raise ValueError(f"{self!r} is no 8-bit picture of 1 or 3 channels at its own size")
        pixels = self._pixels
        if not isinstance(pixels, Image.Image):
            flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
            pixels = Image.fromarray(np.ascontiguousarray(flat))
        return Picture(change(pixels), channels or self.channels)

    def unpacked(self) -> Picture:
        """Return the picture with its pixels as an array, before threads share it."""
        if self._scale == 1:
            self._held()
        return self

    def _held(self) -> NDArray[Any]:
        """Return the pixels as an array of one channel or of all: not copied, not to be changed.

        Pixels in Pillow's form become an array once, and stay one: tiles ask again and again.
        """
        if self._scale > 1:
            raise ValueError(f"{self!r} has no pixels of its own size; use resized")
        if isinstance(self._pixels, Image.Image):
            self._pixels = _as_array(self._pixels)
        return self._pixels

    def _inside(self, box: Box | None) -> Box | None:
        """Return a logical box in the coordinates of the pixels that are held."""
        if box is None and self._scale == 1:
            return None
        left, top, right, bottom = box or (0, 0, self.width, self.height)
        (across, down), scale = self._origin, self._scale
        return (
            _snapped(left, self.width) / scale + across,
            _snapped(top, self.height) / scale + down,
            _snapped(right, self.width) / scale + across,
            _snapped(bottom, self.height) / scale + down,
        )


def _as_array(image: Image.Image) -> NDArray[Any]:
    """Return a picture's pixels, (height, width, channel), by bands: Pillow's way takes thrice."""
    band = max(1, _BAND // max(1, image.width))
    first = np.asarray(image.crop((0, 0, image.width, min(band, image.height))))
    if band >= image.height:
        return first if first.ndim == 3 else first[:, :, None]
    pixels = np.empty((image.height, *first.shape[1:]), first.dtype)
    for top in range(0, image.height, band):
        bottom = min(top + band, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _snapped(edge: float, length: int) -> float:
    """Return an edge that was computed a rounding error outside as the picture's own."""
    inside = min(max(edge, 0), length)
    return inside if abs(edge - inside) < _ROUNDING * length else edge


def _resized_array(
    pixels: NDArray[Any], size: tuple[int, int], method: Image.Resampling, box: Box | None
) -> NDArray[Any]:
    """Return (height, width, channel) resized, at once if Pillow can, else by channel."""
    bands = range(pixels.shape[2])
    if pixels.dtype == np.uint8 and len(bands) == 3:
        return np.asarray(Image.fromarray(pixels).resize(size, method, box))
    resized = [_resized_band(pixels[:, :, i], size, method, box) for i in bands]
    scaled: NDArray[Any] = np.stack(resized, axis=2)
    if pixels.dtype == np.uint16:
        scaled = np.clip(np.rint(scaled), 0, 65535).astype(np.uint16)
    return scaled


def _resized_band(
    band: NDArray[Any], size: tuple[int, int], method: Image.Resampling, box: Box | None
) -> NDArray[Any]:
    held = np.ascontiguousarray(band, np.uint8 if band.dtype == np.uint8 else np.float32)
    return np.asarray(Image.fromarray(held).resize(size, method, box))
