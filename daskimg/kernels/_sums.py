"""Sums and sums of squares of every channel."""

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
