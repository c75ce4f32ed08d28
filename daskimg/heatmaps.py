"""Heatmaps of joints: a Gaussian around each, as pose networks learn them.

Where there is little to draw NumPy does it, and numba's kernel, which costs a second to import
and compile, where there is much: the bits are the same, and the same on every machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.compiling import Rent
from daskimg.errors import OptionError
from daskimg.options import whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

COMPILE_PAYS = 1_000_000_000
"""Values drawn by one Python process above which the compiled kernel is the faster way.

Measured on one core of an AMD EPYC with AVX-512, numba 0.68 and NumPy 2.4: 1.1 s to import
numba and compile, against 4.9 us a heatmap of 64x64 in NumPy and 0.5 us in the kernel. That is
250,000 heatmaps, or 15,000 pictures with 16 joints.
"""

_MADE = Rent(COMPILE_PAYS)

# The exponential of ``kernels.draw_gaussians``, number by number: it says why.
_PER_LN2 = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_LEAST = -700.0
_TAYLOR = tuple(1 / math.factorial(i) for i in range(13, -1, -1))

_SHARPEST = 0.01  # of a heatmap's pixel: less draws nothing, and its square would vanish


def draw_heatmaps(
    points: ArrayLike,
    visible: ArrayLike,
    *,
    image_size: tuple[int, int],
    size: tuple[int, int] = (64, 64),
    sigma: float = 2.0,
    radius: float = 3.0,
    out: NDArray[np.float32] | None = None,
    compiled: bool | None = None,
) -> NDArray[np.float32]:
    """Return a heatmap of each joint: 1 at the joint, falling off as a Gaussian.

    A joint's place is scaled from the image to the heatmap. With (jx, jy) in pixels of the
    heatmap, where pixel ``i`` covers [i, i + 1) and its centre is ``i + 0.5``, pixel (x, y) is
    ``exp(-((x + 0.5 - jx)**2 + (y + 0.5 - jy)**2) / (2 sigma**2))``: the peak is 1 where a
    centre is exactly on the joint, and less otherwise, so that the sub-pixel place remains.
    Beyond ``radius`` along either axis it is 0, as pose code has it: a square patch. A joint
    that is not visible, is nan, or lies outside the image has a heatmap of zeros.

    Parameters
    ----------
    points : (joint, xy) or (sample, joint, xy)
        In pixels of the image, x before y.
    visible : (joint,) or (sample, joint)
        0 for a joint that is hidden or missing.
    image_size : (height, width)
        Pixels of the image.
    size : (height, width)
        Pixels of a heatmap.
    sigma
        Standard deviation, in pixels of the heatmap; at least 0.01.
    radius
        Where the patch ends, in sigmas; ``math.inf`` for no end.
    out
        Overwritten and returned, if given; of the shape of the result, C-contiguous.
    compiled
        Whether numba draws, or NumPy: the same bits. By default numba does once this process
        has drawn ``COMPILE_PAYS`` values.

    Returns
    -------
    (height, width, joint) or (sample, height, width, joint) float32

    Raises
    ------
    OptionError
        If the arrays do not fit together, or a number is out of its range.

    Examples
    --------
    >>> maps = draw_heatmaps([[5.0, 3.0]], [1], image_size=(8, 8), size=(4, 4), sigma=1.0,
    ...                      compiled=False)
    >>> maps[:, :, 0].round(2)
    array([[0.08, 0.37, 0.61, 0.37],
           [0.14, 0.61, 1.  , 0.61],
           [0.08, 0.37, 0.61, 0.37],
           [0.02, 0.08, 0.14, 0.08]], dtype=float32)
    """
    _check_options(image_size, size, sigma, radius)
    centres = _centres(points, visible, image_size, size)
    out = _target((*centres.shape[:-2], *size, centres.shape[-2]), out)
    worth = _MADE.worth(out.size) if compiled is None else compiled
    draw = _compiled if worth else _draw
    # No two places on a heatmap are farther apart than its longer side.
    spread = float(sigma), float(min(radius * sigma, max(size)))
    if centres.ndim == 2:
        draw(centres[None], *spread, out[None])
    else:
        draw(centres, *spread, out)
    return out


def _check_options(
    image_size: tuple[int, int], size: tuple[int, int], sigma: float, radius: float
) -> None:
    for name, given in (("image_size", image_size), ("size", size)):
        if len(given) != 2:
            raise OptionError(f"{name} must be (height, width), got {given}; try (64, 64)")
        for number in given:
            whole(name, number, "try (64, 64)")
    if not _SHARPEST <= sigma < math.inf:
        raise OptionError(f"sigma must be at least {_SHARPEST} pixels, got {sigma}; try 2")
    if not radius > 0:
        raise OptionError(f"radius must be a number of sigmas above 0, got {radius}; try 3")


def _centres(
    points: ArrayLike, visible: ArrayLike, image_size: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return joints in pixels of the heatmap, nan where there is nothing to draw."""
    places, shown = np.asarray(points, np.float64), np.asarray(visible)
    if places.ndim not in (2, 3) or places.shape[-1] != 2 or shown.shape != places.shape[:-1]:
        raise OptionError(
            f"points must be (joint, xy) or (sample, joint, xy), and visible the same without "
            f"xy; got {places.shape} and {shown.shape}; try (16, 2) and (16,)"
        )
    width_first = np.array(image_size[::-1], np.float64)
    inside = ((places >= 0) & (places < width_first)).all(axis=-1) & (shown != 0)
    scale = np.array(size[::-1], np.float64) / width_first
    return np.where(inside[..., None], places, np.nan) * scale


def _target(shape: tuple[int, ...], out: NDArray[Any] | None) -> NDArray[np.float32]:
    """Return the array to fill: ``out`` if it fits, or a new one."""
    if out is None:
        return np.empty(shape, np.float32)
    fits = out.shape == shape and out.dtype == np.float32
    if not fits or not out.flags.c_contiguous or not out.flags.writeable:
        raise OptionError(
            f"out must be a writable C-contiguous {shape} array of float32, got {out.shape} of "
            f"{out.dtype}; try out=None"
        )
    return out


def _compiled(
    centres: NDArray[np.float64], sigma: float, reach: float, out: NDArray[np.float32]
) -> None:
    from daskimg import kernels

    kernels.draw_gaussians(centres, sigma, reach, out)


def _draw(
    centres: NDArray[np.float64], sigma: float, reach: float, out: NDArray[np.float32]
) -> None:
    """Do what ``kernels.draw_gaussians`` does, in NumPy."""
    _, height, width, _ = out.shape
    across = _factors(centres[..., 0], sigma, reach, width)
    down = _factors(centres[..., 1], sigma, reach, height)
    np.multiply(down[:, :, None], across[:, None], out=out, casting="same_kind")


def _factors(
    centres: NDArray[np.float64], sigma: float, reach: float, size: int
) -> NDArray[np.float64]:
    """Return (sample, pixel, joint) factors of one axis from (sample, joint) centres."""
    distance = (np.arange(size) + 0.5)[:, None] - centres[:, None]
    near = np.abs(distance) <= reach  # false for nan
    ratio = np.where(near, distance, 0.0) / sigma
    return np.where(near, exponential(-0.5 * ratio * ratio), 0.0)


def exponential(exponents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e to some powers, at least of -700: the same bits on every machine."""
    exponents = np.maximum(exponents, _LEAST)
    power = np.floor(exponents * _PER_LN2 + 0.5)
    rest = exponents - power * _LN2_HIGH - power * _LN2_LOW
    series = np.zeros_like(rest)
    for coefficient in _TAYLOR:
        series = series * rest + coefficient
    return np.ldexp(series, power.astype(np.int32))
