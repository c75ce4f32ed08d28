"""Samples picked out of memory, and their levels made floating-point numbers on the way.

Gathering first would write and read every sample once more. Samples are given by addresses:
one call serves samples of many mapped files, where a call for each would cost as much as a
sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

from daskimg.kernels._memory import ALIGNED, PIXELS, bytes_at, fence, stream_scaled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def streams(out: NDArray[np.float32]) -> bool:
    """Tell whether (line, value) memory can be written past the caches by ``gather_scaled``.

    For three channels; so can that of 224, 128, 64 and all other multiples of four pixels.
    """
    aligned = out.ctypes.data % ALIGNED == 0
    return aligned and out.shape[1] % (3 * PIXELS) == 0


@njit(nogil=True)
def gather_look_up(
    addresses: NDArray[np.int64],
    lines: NDArray[np.int64],
    table: NDArray[np.generic],
    out: NDArray[np.generic],
    planar: bool,
) -> None:
    """Do what ``look_up`` does with one table, for samples that lie anywhere in memory.

    Parameters
    ----------
    addresses, lines : (sample,) int64
        Where a sample's (height, width, channel) levels begin; its line of ``out``.
    table : (channel, level) of the dtype of ``out``
        256 levels.
    out : (line, value)
        Lines named are overwritten: by (height, width, channel) values, or by (channel,
        height, width) if ``planar``. float32, or float16 viewed as uint16.
    planar : bool
        Whether channels are planes of a line.
    """
    for sample in range(addresses.size):
        values = bytes_at(addresses[sample], out.shape[1])
        place = out[lines[sample]]
        if table.shape[0] != 3:
            _look_up_many(values, table, place, planar)
        else:
            _look_up_three(values, table, place, planar)


@njit(nogil=True)
def _look_up_three(
    values: NDArray[np.uint8], table: NDArray[np.generic], out: NDArray[np.generic], planar: bool
) -> None:
    pixels = values.size // 3
    red, green, blue = table[0], table[1], table[2]
    if planar:
        reds, greens, blues = out[:pixels], out[pixels : 2 * pixels], out[2 * pixels :]
        for i in range(pixels):
            reds[i] = red[values[3 * i]]
            greens[i] = green[values[3 * i + 1]]
            blues[i] = blue[values[3 * i + 2]]
    else:
        for i in range(pixels):
            out[3 * i] = red[values[3 * i]]
            out[3 * i + 1] = green[values[3 * i + 1]]
            out[3 * i + 2] = blue[values[3 * i + 2]]


@njit(nogil=True)
def _look_up_many(
    values: NDArray[np.uint8], table: NDArray[np.generic], out: NDArray[np.generic], planar: bool
) -> None:
    channels = table.shape[0]
    pixels = values.size // channels
    step, jump = (1, pixels) if planar else (channels, 1)
    for channel in range(channels):
        every, place, levels = values[channel:], out[channel * jump :], table[channel]
        for i in range(pixels):
            place[i * step] = levels[every[i * channels]]


@njit(nogil=True)
def gather_scaled(
    addresses: NDArray[np.int64],
    lines: NDArray[np.int64],
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
    out: NDArray[np.float32],
    planar: bool,
    past: bool,
) -> None:
    """Write ``level * scale + shift`` of samples that lie anywhere in memory.

    Computed in float64, one rounding a step, then rounded to float32. From memory, where
    batches live, this takes half the time of a table: look-ups are not vectorised, and three
    planes written side by side by them are slower still.

    Parameters
    ----------
    addresses, lines : (sample,) int64
        Where a sample's (height, width, channel) levels begin; its line of ``out``.
    scale, shift : (channel,) float64
    out : (line, value) float32
        Lines named are overwritten: by (height, width, channel) values, or by (channel,
        height, width) if ``planar``.
    planar : bool
        Whether channels are planes of a line.
    past : bool
        Whether to write past the caches: faster by a third where ``out`` is larger than they
        are. For three channels, with the sizes and places that ``stream_scaled`` asks for.
    """
    for sample in range(addresses.size):
        values = bytes_at(addresses[sample], out.shape[1])
        place = out[lines[sample]]
        if past:
            stream_scaled(values, scale, shift, place, planar)
        elif scale.size == 3:
            _scale_three(values, scale, shift, place, planar)
        else:
            _scale_many(values, scale, shift, place, planar)
    fence()


@njit(nogil=True)
def _scale_three(
    values: NDArray[np.uint8],
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
    out: NDArray[np.float32],
    planar: bool,
) -> None:
    pixels = values.size // 3
    a, b, c = scale[0], scale[1], scale[2]
    x, y, z = shift[0], shift[1], shift[2]
    if planar:
        reds, greens, blues = out[:pixels], out[pixels : 2 * pixels], out[2 * pixels :]
        for i in range(pixels):
            reds[i] = values[3 * i] * a + x
            greens[i] = values[3 * i + 1] * b + y
            blues[i] = values[3 * i + 2] * c + z
    else:
        for i in range(pixels):
            out[3 * i] = values[3 * i] * a + x
            out[3 * i + 1] = values[3 * i + 1] * b + y
            out[3 * i + 2] = values[3 * i + 2] * c + z


@njit(nogil=True)
def _scale_many(
    values: NDArray[np.uint8],
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
    out: NDArray[np.float32],
    planar: bool,
) -> None:
    channels = scale.size
    pixels = values.size // channels
    step, jump = (1, pixels) if planar else (channels, 1)
    for channel in range(channels):
        every, place = values[channel:], out[channel * jump :]
        a, x = scale[channel], shift[channel]
        for i in range(pixels):
            place[i * step] = every[i * channels] * a + x
