"""Gaussian bumps around points: the heatmaps that pose networks learn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PER_LN2 = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # ln 2 in two parts: the first times 1,000 is exact
_LN2_LOW = 1.90821492927058770002e-10
_LEAST = -700.0  # exp(-700) is 1e-304: zero in float32, and still normal in float64
_TAYLOR = tuple(1 / math.factorial(i) for i in range(13, -1, -1))  # the rest is below 1e-17


@njit(nogil=True)
def draw_gaussians(
    centres: NDArray[np.float64], sigma: float, reach: float, out: NDArray[np.float32]
) -> None:
    """Draw one Gaussian around each centre, 1 at the centre, 0 beyond ``reach``.

    The value at pixel (x, y) is the product of a factor of each axis,
    ``exp(-(x + 0.5 - centre)**2 / (2 sigma**2))``, in float64, rounded once. The exponential
    is computed by additions and multiplications, whose results IEEE 754 fixes: the bits are
    the same on every machine, which those of a mathematical library are not.

    Parameters
    ----------
    centres : (sample, joint, xy) float64
        In pixels of ``out``; pixel ``i`` covers [i, i + 1). nan: nothing is drawn.
    sigma, reach
        In pixels; along either axis.
    out : (sample, height, width, joint) float32
        Overwritten.
    """
    samples, _, width, joints = out.shape
    across = np.empty(width)
    flat = out.reshape(-1)
    for i in range(flat.size):
        flat[i] = 0.0
    for sample in range(samples):
        for joint in range(joints):
            x, y = centres[sample, joint]
            if not (math.isnan(x) or math.isnan(y)):
                _draw_one(x, y, sigma, reach, across, out[sample, :, :, joint])


@njit(nogil=True)
def _draw_one(
    centre_x: float,
    centre_y: float,
    sigma: float,
    reach: float,
    across: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    height, width = out.shape
    left, right = _within(centre_x, reach, width)
    top, bottom = _within(centre_y, reach, height)
    for x in range(left, right):
        across[x] = _factor(x + 0.5 - centre_x, sigma)
    for y in range(top, bottom):
        factor = _factor(y + 0.5 - centre_y, sigma)
        for x in range(left, right):
            out[y, x] = factor * across[x]


@njit(nogil=True)
def _within(centre: float, reach: float, size: int) -> tuple[int, int]:
    """Return the range of pixels whose centres are no farther than ``reach``."""
    # Rounding must not decide: begin a pixel too far out, and drop what is beyond.
    start = min(max(math.floor(centre - reach) - 1, 0), size)
    stop = min(max(math.ceil(centre + reach) + 1, 0), size)
    while start < stop and abs(start + 0.5 - centre) > reach:
        start += 1
    while start < stop and abs(stop - 0.5 - centre) > reach:
        stop -= 1
    return start, stop


@njit(nogil=True)
def _factor(distance: float, sigma: float) -> float:
    """Return exp(-(distance / sigma)**2 / 2), correct to about a unit in the last place."""
    ratio = distance / sigma
    exponent = max(-0.5 * ratio * ratio, _LEAST)
    power = math.floor(exponent * _PER_LN2 + 0.5)
    rest = exponent - power * _LN2_HIGH - power * _LN2_LOW  # within ln 2 / 2 of zero
    series = 0.0
    for coefficient in _TAYLOR:
        series = series * rest + coefficient
    return math.ldexp(series, power)
