"""Parts of samples picked out of memory: cut, scaled, mirrored, in one pass.

All take a window of each sample, (top, left, height, width) in its pixels, which lies inside it,
and make it as large as the output; a mirrored one is written from right to left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from daskimg.kernels._memory import bytes_at

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(nogil=True)
def gather_nearest(
    addresses: NDArray[np.int64],
    lines: NDArray[np.int64],
    windows: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    tall: int,
    wide: int,
    out: NDArray[np.uint8],
) -> None:
    """Write windows of samples by nearest neighbour: whole pixels, of any number of bytes.

    Output pixel ``i`` of ``n`` is pixel ``floor((i + 0.5) * m / n)`` of the window's ``m``. A
    window of the output's size is copied.

    Parameters
    ----------
    addresses, lines : (sample,) int64
        Where a sample's (height, width, pixel) bytes begin; its line of ``out``.
    windows : (sample, 4) int64
    mirrored : (sample,) bool
    tall, wide
        Of a whole sample in memory, in pixels.
    out : (line, height, width, byte) uint8
        Lines named are overwritten; the last axis is the bytes of a pixel.
    """
    _, rows, columns, pixel = out.shape
    across = np.empty(columns, np.int64)
    for sample in range(addresses.size):
        whole = bytes_at(addresses[sample], tall * wide * pixel)
        top, left, height, width = windows[sample]
        for x in range(columns):
            column = (2 * x + 1) * width // (2 * columns)
            across[columns - 1 - x if mirrored[sample] else x] = column * pixel
        for y in range(rows):
            line = top + (2 * y + 1) * height // (2 * rows)
            first = (line * wide + left) * pixel
            values = whole[first : first + width * pixel]
            place = out[lines[sample], y].reshape(-1)
            if width == columns and not mirrored[sample]:
                for i in range(place.size):
                    place[i] = values[i]
            elif pixel == 3:
                _pick_three(values, across, place)
            else:
                _pick_many(values, across, pixel, place)


@njit(nogil=True)
def _pick_three(
    values: NDArray[np.uint8], across: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    for x in range(across.size):
        out[3 * x] = values[across[x]]
        out[3 * x + 1] = values[across[x] + 1]
        out[3 * x + 2] = values[across[x] + 2]


@njit(nogil=True)
def _pick_many(
    values: NDArray[np.uint8], across: NDArray[np.int64], pixel: int, out: NDArray[np.uint8]
) -> None:
    for x in range(across.size):
        for i in range(pixel):
            out[x * pixel + i] = values[across[x] + i]


@njit(nogil=True)
def gather_scaled_windows(
    addresses: NDArray[np.int64],
    lines: NDArray[np.int64],
    windows: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    tall: int,
    wide: int,
    out: NDArray[np.uint8],
) -> None:
    """Write windows of 8-bit samples by linear interpolation, wider where they shrink.

    Separable; along each axis output pixel ``i`` of ``n`` is the mean of the window's pixels
    ``j`` of ``m`` by the weights ``1 - |j + 0.5 - (i + 0.5) s| / max(s, 1)``, where positive,
    with ``s = m / n``: what Pillow calls bilinear, without its rounding between the axes. Sums
    are in float32, down before across, rounded half up.

    Parameters
    ----------
    addresses, lines : (sample,) int64
        Where a sample's (height, width, channel) levels begin; its line of ``out``.
    windows : (sample, 4) int64
    mirrored : (sample,) bool
    tall, wide
        Of a whole sample in memory, in pixels.
    out : (line, height, width, channel) uint8
        Lines named are overwritten.
    """
    _, rows, columns, channels = out.shape
    for sample in range(addresses.size):
        whole = bytes_at(addresses[sample], tall * wide * channels)
        top, left, height, width = windows[sample]
        lowest, weights = _weights(height, rows)
        firsts, shares = _weights(width, columns)
        mixed = np.empty(width * channels, np.float32)
        for y in range(rows):
            mixed[:] = np.float32(0)
            for tap in range(weights.shape[1]):
                weight = weights[y, tap]
                if weight > 0:
                    first = ((top + lowest[y] + tap) * wide + left) * channels
                    _add(whole[first : first + mixed.size], weight, mixed)
            place = out[lines[sample], y].reshape(-1)
            if channels == 3:
                _mix_three(mixed, firsts, shares, mirrored[sample], place)
            else:
                _mix_many(mixed, firsts, shares, mirrored[sample], channels, place)


@njit(nogil=True)
def _weights(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the first pixel that each output pixel takes, and what it takes of those behind."""
    scale = source / target
    reach = max(scale, 1.0)
    taps = 2 * int(np.ceil(reach)) + 1
    firsts = np.empty(target, np.int64)
    weights = np.zeros((target, taps), np.float32)
    exact = np.empty(taps, np.float64)
    for i in range(target):
        centre = (i + 0.5) * scale
        first = max(int(centre - reach + 0.5), 0)
        stop = min(int(centre + reach + 0.5), source)
        total = 0.0
        for tap in range(stop - first):
            exact[tap] = max(1.0 - abs(first + tap + 0.5 - centre) / reach, 0.0)
            total += exact[tap]
        firsts[i] = first
        for tap in range(stop - first):
            weights[i, tap] = exact[tap] / total
    return firsts, weights


@njit(nogil=True)
def _add(values: NDArray[np.uint8], weight: np.float32, out: NDArray[np.float32]) -> None:
    for i in range(out.size):
        out[i] += np.float32(values[i]) * weight


@njit(nogil=True)
def _mix_three(
    mixed: NDArray[np.float32],
    columns: NDArray[np.int64],
    shares: NDArray[np.float32],
    mirrored: bool,
    out: NDArray[np.uint8],
) -> None:
    half = np.float32(0.5)
    wide = columns.size
    for x in range(wide):
        red = green = blue = np.float32(0)
        values, own = mixed[3 * columns[x] :], shares[x]
        for tap in range(own.size):
            if own[tap] > 0:
                red += values[3 * tap] * own[tap]
                green += values[3 * tap + 1] * own[tap]
                blue += values[3 * tap + 2] * own[tap]
        place = 3 * (wide - 1 - x if mirrored else x)
        out[place] = np.uint8(red + half)
        out[place + 1] = np.uint8(green + half)
        out[place + 2] = np.uint8(blue + half)


@njit(nogil=True)
def _mix_many(
    mixed: NDArray[np.float32],
    columns: NDArray[np.int64],
    shares: NDArray[np.float32],
    mirrored: bool,
    channels: int,
    out: NDArray[np.uint8],
) -> None:
    half = np.float32(0.5)
    wide = columns.size
    for x in range(wide):
        place = channels * (wide - 1 - x if mirrored else x)
        for channel in range(channels):
            total = np.float32(0)
            for tap in range(shares.shape[1]):
                if shares[x, tap] > 0:
                    total += mixed[channels * (columns[x] + tap) + channel] * shares[x, tap]
            out[place + channel] = np.uint8(total + half)


@njit(nogil=True)
def jitter_colours(
    images: NDArray[np.uint8], lines: NDArray[np.int64], factors: NDArray[np.float64]
) -> None:
    """Change brightness, contrast and saturation of 8-bit pictures in place.

    With a picture's ``grey = 0.299 R + 0.587 G + 0.114 B`` and its mean ``m``: all levels
    times ``b``; then moved from ``b m`` by ``c``; then each pixel from its own grey by ``s``.
    These are one linear map, whose result is rounded half up and clipped, once. In float32.

    Parameters
    ----------
    images : (line, pixel, channel) uint8
        1 or 3 channels. Lines named are overwritten.
    lines : (sample,) int64
    factors : (sample, 3) float64
        b, c and s; 1 changes nothing.
    """
    channels = images.shape[2]
    for sample in range(lines.size):
        brightness, contrast, saturation = factors[sample]
        values = images[lines[sample]].reshape(-1)
        offset = (1 - contrast) * brightness * _mean_grey(values, channels)
        light = brightness * contrast
        if channels == 3:
            _map_pixels(
                values,
                np.float32(light * saturation),
                np.float32(light * (1 - saturation)),
                np.float32(offset + 0.5),
            )
        else:
            _map_values(values, np.float32(light), np.float32(offset + 0.5))


@njit(nogil=True)
def _mean_grey(values: NDArray[np.uint8], channels: int) -> float:
    if channels != 3:
        return _sum_every(values, 1) / values.size
    reds, greens, blues = (
        _sum_every(values, 3),
        _sum_every(values[1:], 3),
        _sum_every(values[2:], 3),
    )
    return (0.299 * reds + 0.587 * greens + 0.114 * blues) / (values.size // 3)


@njit(nogil=True)
def _sum_every(values: NDArray[np.uint8], step: int) -> float:
    total = np.uint64(0)
    for i in range((values.size + step - 1) // step):
        total += np.uint64(values[i * step])
    return float(total)


@njit(nogil=True)
def _map_pixels(
    values: NDArray[np.uint8], own: np.float32, grey: np.float32, offset: np.float32
) -> None:
    low, high = np.float32(0), np.float32(255)
    for i in range(values.size // 3):
        red = np.float32(values[3 * i])
        green = np.float32(values[3 * i + 1])
        blue = np.float32(values[3 * i + 2])
        luma = red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
        rest = luma * grey + offset
        values[3 * i] = np.uint8(min(max(red * own + rest, low), high))
        values[3 * i + 1] = np.uint8(min(max(green * own + rest, low), high))
        values[3 * i + 2] = np.uint8(min(max(blue * own + rest, low), high))


@njit(nogil=True)
def _map_values(values: NDArray[np.uint8], own: np.float32, offset: np.float32) -> None:
    low, high = np.float32(0), np.float32(255)
    for i in range(values.size):
        values[i] = np.uint8(min(max(np.float32(values[i]) * own + offset, low), high))
