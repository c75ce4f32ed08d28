"""What goes with a picture, moved along with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from daskimg.augment._moves import Moves

_MISSING = -1.0  # both coordinates of a joint that was not annotated


def moved_points(points: NDArray[Any], moves: Moves) -> NDArray[Any]:
    """Return (sample, joint, xy) joints where they are now; missing ones stay missing."""
    scale, shift = moves.axes()
    moved = points * scale[:, None] + shift[:, None]
    missing = (points == _MISSING).all(axis=-1, keepdims=True)
    return np.where(missing, points, moved).astype(points.dtype)


def moved_affines(affines: NDArray[Any], moves: Moves) -> NDArray[Any]:
    """Return (sample, 2, 3) affines from the source to what is handed over."""
    scale, shift = moves.axes()
    both = affines * scale[:, :, None]
    both[:, :, 2] += shift
    found: NDArray[Any] = both.astype(affines.dtype)
    return found


def swapped(joints: NDArray[Any], moves: Moves, pairs: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """Return (sample, joint, ...) joints of which left and right changed, where mirrored."""
    order = np.arange(joints.shape[1])
    for one, other in pairs:
        order[[one, other]] = other, one
    found = joints.copy()
    found[moves.mirrored] = joints[moves.mirrored][:, order]
    return found
