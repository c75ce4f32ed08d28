"""Resampling by area: each output pixel is the mean of what lies under it.

Pillow's ``box`` counts a pixel whole or not at all, which is the same only where the ratio of
the sizes is a whole number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def area_mean(
    pixels: NDArray[Any], height: int, width: int, box: tuple[float, float, float, float]
) -> NDArray[Any]:
    """Return (height, width, channel) means of a (row, column, channel) picture's parts.

    ``box`` is (left, top, right, bottom), cut into equal parts. Pixels at a part's edges count
    by the share of them that is inside. Sums are made in float64, in an order that depends
    on nothing but the shape; whole dtypes are rounded half to even.
    """
    left, top, right, bottom = box
    rows = _means(pixels, np.linspace(top, bottom, height + 1), 0)
    means = _means(rows, np.linspace(left, right, width + 1), 1)
    return (means if pixels.dtype.kind == "f" else np.rint(means)).astype(pixels.dtype)


def _means(pixels: NDArray[Any], edges: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return means between neighbouring edges along one axis.

    The integral of the levels rises evenly within a pixel, so that it is interpolated linearly
    between the sums up to whole pixels.
    """
    values = np.moveaxis(pixels, axis, 0)
    sums = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
    inside = np.clip(edges, 0, len(values))
    before = np.minimum(inside.astype(np.intp), len(values) - 1)
    share = (inside - before)[:, None, None]
    integral = sums[before] * (1 - share) + sums[before + 1] * share
    lengths = np.diff(inside)[:, None, None]
    return np.moveaxis(np.diff(integral, axis=0) / lengths, 0, axis)
