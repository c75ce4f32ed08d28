"""Affines: (2, 3) float64, from source to output coordinates (x, y)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

IDENTITY: NDArray[np.float64] = np.eye(2, 3)
"""The affine of a picture to which nothing has been done yet; read-only."""
IDENTITY.flags.writeable = False


def compose(step: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (2, 3) affine that does ``before`` and then ``step``."""
    both = step[:, :2] @ before
    both[:, 2] += step[:, 2]
    return both


def apply_affine(affine: NDArray[np.float64], points: NDArray[Any]) -> NDArray[Any]:
    """Return (..., 2) points (x, y) mapped by a (2, 3) affine, in their own dtype.

    >>> apply_affine(np.array([[2.0, 0, 1], [0, 2.0, 0]]), np.array([[1.0, 1.0]]))
    array([[3., 2.]])
    """
    mapped = points @ affine[:, :2].T + affine[:, 2]
    return np.asarray(mapped, points.dtype)
