"""Sums and sums of squares of every channel, as integers of any length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.errors import OptionError
from daskimg.options import given

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

COMPILE_PAYS = 5_000_000_000
"""Values summed by one Python process above which the compiled kernel is the faster way.

Measured on one core of an AMD EPYC with AVX-512, numba 0.68 and NumPy 2.4: 0.36 s to import
numba and 0.92 s to compile, against 0.31 ns a value in NumPy and 0.04 ns in the kernel. That
is 400,000 pictures of 64x64x3, or 33,000 of 224x224x3.
"""

FLOAT_STEPS = 65535
"""Steps between 0 and 1 to which float32 values are rounded before they are summed."""

SCALES = {"uint8": 255, "uint16": 65535, "float32": FLOAT_STEPS}
"""The value that stands for 1.0 in the sums, by dtype."""

_LIMB = 21
_FLOAT_LIMIT = 2.0 ** (2 * _LIMB)  # in steps: two limbs, 67 million times the range 0..1
_SHIFTS = (0, _LIMB + 1, 2 * _LIMB)  # (high * 2**21 + low)**2, term by term

_ROW = 3072  # values: the columns of a slab, so many that NumPy's loop costs nothing
_SLAB = 64  # rows: 200 kB of uint8, and column sums of squares far below 2**32
_RUN = 1 << 20  # pixels: every sum over a run fits 63 bits, whatever the dtype
_COPIED = 1 << 17  # pixels


@dataclass(frozen=True, slots=True)
class ChannelSums:
    """Exact sums over pictures: they add up to the same total in any order.

    Attributes
    ----------
    count
        Values per channel.
    sums, squares
        Sum of the values, and of their squares: one Python integer per channel.
    scale
        The value that stands for 1.0: 255 (uint8) or 65535 (uint16, and float32 in steps).

    Examples
    --------
    >>> half = ChannelSums(2, (255,), (65025,), 255)
    >>> (half + half).count, (half + half).mean(), (half + half).std()
    (4, (0.5,), (0.5,))
    """

    count: int
    sums: tuple[int, ...]
    squares: tuple[int, ...]
    scale: int

    @classmethod
    def none(cls, channels: int, scale: int) -> ChannelSums:
        """Return the sums over no picture, to begin adding with."""
        return cls(0, (0,) * channels, (0,) * channels, scale)

    def __add__(self, other: ChannelSums) -> ChannelSums:
        """Return the sums over the pictures of both."""
        if (self.scale, len(self.sums)) != (other.scale, len(other.sums)):
            raise OptionError(
                f"channel sums add up only at equal channels and scale, got {len(self.sums)} at "
                f"scale {self.scale} and {len(other.sums)} at scale {other.scale}; sum pictures "
                f"of one dtype"
            )
        return ChannelSums(
            self.count + other.count,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
            self.scale,
        )

    def mean(self) -> tuple[float, ...]:
        """Return each channel's mean on the 0..1 scale, correctly rounded; nan if empty."""
        if not self.count:
            return (math.nan,) * len(self.sums)
        # Python divides integers of any length with one rounding.
        return tuple(total / (self.count * self.scale) for total in self.sums)

    def std(self) -> tuple[float, ...]:
        """Return each channel's population standard deviation, scaled and rounded as ``mean``."""
        if not self.count:
            return (math.nan,) * len(self.sums)
        return tuple(
            _root(self.count * square - total * total, self.count * self.scale)
            for total, square in zip(self.sums, self.squares, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; sums are text, as JSON readers may round numbers over 2**53."""
        return {
            "count": self.count,
            "scale": self.scale,
            "sums": [str(total) for total in self.sums],
            "squares": [str(square) for square in self.squares],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ChannelSums:
        """Return the sums that ``to_json`` gave; whole numbers in the place of text will do."""
        return cls(
            int(stored["count"]),
            tuple(int(total) for total in stored["sums"]),
            tuple(int(square) for square in stored["squares"]),
            int(stored["scale"]),
        )


def _root(square: int, divisor: int) -> float:
    """Return ``sqrt(square) / divisor``, correctly rounded.

    The root is cut to an integer after so many bits that every number half-way between two
    floats, times the divisor, is an integer there too. One more bit stands for all that was
    cut: it decides the rounding as the true root would.
    """
    bits = divisor.bit_length() + 64
    root = math.isqrt(square << 2 * bits)
    cut = root * root != square << 2 * bits
    return (2 * root + cut) / (divisor << bits + 1)


def channel_sums(images: NDArray[Any], *, compiled: bool) -> ChannelSums:
    """Sum every channel of some pictures exactly.

    Parameters
    ----------
    images : (sample, height, width, channel) uint8, uint16 or float32
        Fastest where each picture is contiguous; samples may lie apart. Float values are
        rounded to steps of 1/65535 first, half to even; ``nan`` counts as 0, and what lies
        beyond 2**42 steps (67 million) on either side as that limit.
    compiled : bool
        Whether to use the kernel: worth while for more than ``COMPILE_PAYS`` values in the
        life of this Python process. Float values are summed by NumPy in any case.

    Raises
    ------
    OptionError
        If the array is no stack of pictures.
    """
    check_images(images)
    samples, height, width, channels = images.shape
    sums, squares = [0] * channels, [0] * channels
    for values in _runs(images):
        more, more_squares = run_sums(values, channels, compiled=compiled)
        sums = [a + b for a, b in zip(sums, more, strict=True)]
        squares = [a + b for a, b in zip(squares, more_squares, strict=True)]
    scale = SCALES[images.dtype.name]
    return ChannelSums(samples * height * width, tuple(sums), tuple(squares), scale)


def check_images(images: NDArray[Any]) -> None:
    """Refuse what is no (sample, height, width, channel) array of a dtype that is stored."""
    if not isinstance(images, np.ndarray):
        raise OptionError(
            f"images must be a NumPy array, got {given(images)}; try np.asarray(images)"
        )
    if images.ndim != 4 or 0 in images.shape[1:]:
        advice = "; try images[None]" if images.ndim == 3 else ""
        raise OptionError(
            f"images must be (sample, height, width, channel), with a pixel at least, got shape "
            f"{images.shape}{advice}"
        )
    if images.dtype.name not in SCALES or not images.dtype.isnative:
        raise OptionError(
            f"images must be uint8, uint16 or float32 in this machine's byte order, got "
            f"{images.dtype.str} ({images.dtype}); try images.astype('float32')"
        )


def _runs(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield all values as flat pieces of whole pixels, copied only where samples lie apart."""
    samples, height, width, channels = images.shape
    # Small copies stay in cache: for samples that lie apart they cost less than a call each.
    together = samples if images.flags.c_contiguous else _COPIED // (height * width)
    for first in range(0, samples, max(1, together)):
        values = np.ascontiguousarray(images[first : first + max(1, together)]).reshape(-1)
        for start in range(0, values.size, _RUN * channels):
            yield values[start : start + _RUN * channels]


def run_sums(
    values: NDArray[Any], channels: int, *, compiled: bool
) -> tuple[list[int], list[int]]:
    """Return the sums and the sums of squares of contiguous pixels, at most 2**20 of them.

    Parameters
    ----------
    values : (pixel * channel,) uint8, uint16 or float32
    """
    if not compiled or values.dtype == np.float32:
        return _sums_by_columns(values, channels)
    from daskimg import kernels

    sums, squares = np.zeros(channels, np.uint64), np.zeros(channels, np.uint64)
    kernels.channel_sums(values.reshape(1, 1, -1, channels), sums, squares)
    return sums.tolist(), squares.tolist()


def _sums_by_columns(values: NDArray[Any], channels: int) -> tuple[list[int], list[int]]:
    """Sum the columns of long rows, whatever the pictures' width: NumPy's fastest reduction."""
    width = channels * max(1, _ROW // channels)
    rows = values[: values.size // width * width].reshape(-1, width)
    rest = values[rows.size :].reshape(1, -1)  # begins with a whole pixel, as every row does
    add, terms = (_add_floats, 4) if values.dtype == np.float32 else (_add_integers, 2)
    totals = np.zeros((terms, width), np.int64)
    for start in range(0, len(rows), _SLAB):
        add(rows[start : start + _SLAB], totals)
    add(rest, totals[:, : rest.size])
    sums, *limbs = ([int(t[c::channels].sum()) for c in range(channels)] for t in totals)
    shifted = ([limb << shift for limb in row] for row, shift in zip(limbs, _SHIFTS, strict=False))
    return sums, [sum(parts) for parts in zip(*shifted, strict=True)]


def _add_integers(rows: NDArray[Any], totals: NDArray[np.int64]) -> None:
    """Add column sums of values and squares, each in the narrowest type that holds them."""
    narrow = rows.dtype == np.uint8
    square, total = (np.uint16, np.uint32) if narrow else (np.uint32, np.int64)
    totals[0] += np.add.reduce(rows, axis=0, dtype=total)
    totals[1] += np.add.reduce(np.square(rows, dtype=square), axis=0, dtype=total)


def _add_floats(rows: NDArray[Any], totals: NDArray[np.int64]) -> None:
    """Add column sums of steps, and of their squares in three terms: 64 bits do not hold them."""
    steps = np.rint(rows.astype(np.float64) * FLOAT_STEPS)  # the product is exact in float64
    np.clip(steps, -_FLOAT_LIMIT, _FLOAT_LIMIT, out=steps)
    whole = np.nan_to_num(steps, copy=False).astype(np.int64)
    high, low = whole >> _LIMB, whole & ((1 << _LIMB) - 1)
    for total, term in zip(totals, (whole, low * low, high * low, high * high), strict=True):
        total += np.add.reduce(term, axis=0)
