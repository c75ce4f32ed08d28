"""Numba kernels: loops over pixels, and nothing else.

Rules of this room, each with its reason:

* NumPy and numba are the only imports: kernels are testable alone. Importing this module
  costs numba's own import and compiles nothing; a kernel is compiled by its first call.
* Kernels fill ``out`` and allocate nothing: the caller owns memory. Arrays are C-contiguous
  unless said otherwise; ``reshape(-1)`` is then a view.
* ``nogil`` always, ``parallel`` never: Dask already uses every core, and numba's workqueue
  threading layer may not be entered by two threads at once. ``cache`` never: several
  workers that write one cache have raced (numba #4807).
* Integers are ``uint64`` throughout, so that a run with ``NUMBA_DISABLE_JIT=1`` gives the
  same bits and no overflow warnings.
* Inner loops run over one-dimensional slices from zero: where numba cannot see that an
  index is not negative it wraps it, and LLVM no longer vectorises (six times slower).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIXELS = 4096  # of one pass over many channels: stays in the first cache for all of them


@njit(nogil=True)
def channel_sums(
    images: NDArray[np.unsignedinteger],
    sums: NDArray[np.uint64],
    squares: NDArray[np.uint64],
) -> None:
    """Add each channel's values, and their squares, to what the arrays hold.

    Exact as long as the totals fit: 2**32 pixels of ``uint16``, 2**48 of ``uint8``.

    Parameters
    ----------
    images : (sample, height, width, channel) uint8 or uint16
        At least one channel.
    sums, squares : (channel,) uint64
        Added to.
    """
    channels = images.shape[3]
    values = images.reshape(-1)
    if channels == 1:
        _sum_one(values, sums, squares)
    elif channels == 3:
        _sum_three(values, sums, squares)
    else:
        _sum_many(values, sums, squares)


@njit(nogil=True)
def _sum_one(
    values: NDArray[np.unsignedinteger],
    sums: NDArray[np.uint64],
    squares: NDArray[np.uint64],
) -> None:
    total, square = np.uint64(0), np.uint64(0)
    for i in range(values.size):
        value = np.uint64(values[i])
        total += value
        square += value * value
    sums[0] += total
    squares[0] += square


@njit(nogil=True)
def _sum_three(
    values: NDArray[np.unsignedinteger],
    sums: NDArray[np.uint64],
    squares: NDArray[np.uint64],
) -> None:
    # Six names instead of two arrays: they live in registers, and LLVM loads the three
    # channels with shuffles, at the speed of memory. A loop over channels is 8 times slower.
    red, green, blue = np.uint64(0), np.uint64(0), np.uint64(0)
    red2, green2, blue2 = np.uint64(0), np.uint64(0), np.uint64(0)
    for i in range(values.size // 3):
        r = np.uint64(values[3 * i])
        g = np.uint64(values[3 * i + 1])
        b = np.uint64(values[3 * i + 2])
        red += r
        green += g
        blue += b
        red2 += r * r
        green2 += g * g
        blue2 += b * b
    sums[0] += red
    sums[1] += green
    sums[2] += blue
    squares[0] += red2
    squares[1] += green2
    squares[2] += blue2


@njit(nogil=True)
def _sum_many(
    values: NDArray[np.unsignedinteger],
    sums: NDArray[np.uint64],
    squares: NDArray[np.uint64],
) -> None:
    channels = sums.size
    pixels = values.size // channels
    for start in range(0, pixels, _PIXELS):
        block = values[start * channels : min(start + _PIXELS, pixels) * channels]
        for channel in range(channels):
            every = block[channel:]
            total, square = np.uint64(0), np.uint64(0)
            for i in range(block.size // channels):
                value = np.uint64(every[i * channels])
                total += value
                square += value * value
            sums[channel] += total
            squares[channel] += square


@njit(nogil=True)
def image_sums(
    images: NDArray[np.unsignedinteger],
    sums: NDArray[np.uint64],
    squares: NDArray[np.uint64],
) -> None:
    """Add each picture's channel sums to its own line: ``channel_sums``, picture by picture.

    Parameters
    ----------
    images : (sample, height, width, channel) uint8 or uint16
    sums, squares : (sample, channel) uint64
        Added to.
    """
    for sample in range(images.shape[0]):
        channel_sums(images[sample : sample + 1], sums[sample], squares[sample])


@njit(nogil=True)
def look_up(
    images: NDArray[np.uint8],
    tables: NDArray[np.generic],
    out: NDArray[np.generic],
    planar: bool,
) -> None:
    """Replace every level by its entry in a table, and change the layout, in one pass.

    A table, and not a multiplication and an addition: its entries are rounded once, from
    float64, and hold for any function of a level; ``float16``, which numba cannot compute
    with, passes as its bits. From cache a multiply-add costs a quarter of a load and a store
    per value (0.06 against 0.22 ns); from memory, where batches live, they are near each
    other (0.18 against 0.24 ns).

    Parameters
    ----------
    images : (sample, height, width, channel) uint8
    tables : (sample or 1, channel, level) of the dtype of ``out``
        256 levels; one table for all samples, or one for each.
    out : (sample, height, width, channel), or (sample, channel, height, width) if ``planar``
        Overwritten. float32, or float16 viewed as uint16.
    planar : bool
        Whether channels are planes of ``out``.
    """
    samples, height, width, channels = images.shape
    pixels = height * width
    size = pixels * channels
    source, target = images.reshape(-1), out.reshape(-1)
    step, jump = (1, pixels) if planar else (channels, 1)
    for sample in range(samples):
        table = tables[sample % tables.shape[0]]
        values = source[sample * size : (sample + 1) * size]
        places = target[sample * size : (sample + 1) * size]
        if channels == 3 and not planar:
            _look_up_three(values, table, places)
        else:
            for channel in range(channels):
                every, place = values[channel:], places[channel * jump :]
                for i in range(pixels):
                    place[i * step] = table[channel, every[i * channels]]


@njit(nogil=True)
def _look_up_three(
    values: NDArray[np.uint8], table: NDArray[np.generic], out: NDArray[np.generic]
) -> None:
    # One pass where the results would be written with gaps: a third less than three passes.
    red, green, blue = table[0], table[1], table[2]
    for i in range(values.size // 3):
        out[3 * i] = red[values[3 * i]]
        out[3 * i + 1] = green[values[3 * i + 1]]
        out[3 * i + 2] = blue[values[3 * i + 2]]
