"""Where a transform moves picture, masks, points and joints, held against its affine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.contract._demand import demand
from daskimg.contract._trials import EARLIER, JOINTS, WHITES
from daskimg.decode import Picture
from daskimg.transforms import apply_affine, compose, resolve_chain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.contract._trials import Trial
    from daskimg.transforms import Sample

_NEAR = 0.55  # of a source pixel: the nearest one holds the point, or lies beside it by rounding
_MARKABLE = 16  # pixels of a side below which no mark is put on a picture
_SEEN = 2  # pixels that a mark must have in the output
_CLOSE = 1e-3  # pixels by which float32 points may be off


def _own_affine(made: Sample) -> NDArray[np.float64]:
    """Return what the step itself did: its sample came with ``EARLIER``."""
    return compose(made.affine, np.linalg.inv(np.vstack([EARLIER, [0, 0, 1]]))[:2])


def check_targets(name: str, trial: Trial, made: Sample) -> None:
    """Compare where masks, points and joints went with what the affine says."""
    given, own = trial.sample(), _own_affine(made)
    for key, target in made.targets.items():
        if target.kind == "mask" and key in given.targets:
            _check_mask(name, own, target.array)
        if target.kind == "values" and key in given.targets:
            demand(
                np.array_equal(target.array, given.targets[key].array),
                f"{name} changes a target of kind values, which is to be left as it is",
            )
    if "keypoint" in given.targets:
        _check_points(name, apply_affine(own, trial.points().astype(np.float64)), made)


def _check_mask(name: str, own: NDArray[np.float64], array: NDArray[Any]) -> None:
    """Hold each pixel of a mask of coordinates against the place it came from."""
    mask = array.astype(np.float64)
    down, across = np.nonzero(mask.all(axis=2))
    here = np.stack([across, down], 1) + 0.5
    source = (here - own[:, 2]) @ np.linalg.inv(own[:, :2]).T
    off = np.abs(source - (mask[down, across] - 0.5)).max(initial=0)
    demand(
        off <= _NEAR,
        f"{name} has a mask {off:.2f} source pixels off what its affine says: move masks as "
        "the picture, by the nearest pixel, and compose(step, sample.affine)",
    )


def _check_points(name: str, wanted: NDArray[np.float64], made: Sample) -> None:
    points = made.targets["keypoint"].array.astype(np.float64)
    reason = "does not map points as its affine says"
    if "visible" in made.targets:
        # Each joint's value is its number, so that one sees which ones changed places.
        numbers = made.targets["visible"].array.astype(int)
        seen = (numbers > 0) & (numbers <= JOINTS)
        points, wanted = points[seen], wanted[numbers[seen] - 1]
        reason += ", or swaps joints otherwise than their points"
    else:
        points, wanted = points[np.lexsort(points.T)], wanted[np.lexsort(wanted.T)]
    demand(np.allclose(points, wanted, rtol=1e-5, atol=_CLOSE), f"{name} {reason}")


def check_picture(name: str, trial: Trial) -> None:
    """Put a mark on the picture, and look for it where the affine says."""
    if trial.picture is not None or min(trial.size) < _MARKABLE:
        return
    top, left = (side * 3 // 8 for side in trial.size)
    tall, wide = (side // 4 for side in trial.size)
    plain, marked = trial.image(), trial.image()
    white = WHITES[trial.spec.dtype]
    plain[top : top + tall, left : left + wide] = white * 0.4
    marked[top : top + tall, left : left + wide] = white
    corners = np.array([[left, top], [left + wide, top + tall]], np.float64)
    for without, made in zip(
        trial.step(trial.sample(plain)), trial.step(trial.sample(marked)), strict=True
    ):
        own = _own_affine(made)
        if np.array_equal(without.affine, made.affine):
            change = made.image.array().astype(np.float64) - without.image.array()
            _check_mark(name, np.abs(change).sum(axis=2), apply_affine(own, corners))


def _check_mark(name: str, change: NDArray[np.float64], corners: NDArray[np.float64]) -> None:
    """Hold the middle of what changed against the middle of the mark; corners are (x, y)."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    inside = (low >= 0).all() and (high <= change.shape[::-1]).all()
    if not inside or (high - low < _SEEN).any() or not change.any():
        return
    down, across = np.nonzero(change > change.max() / 2)
    found = np.array([across.mean() + 0.5, down.mean() + 0.5])
    off = np.abs(found - (low + high) / 2).max()
    demand(
        off <= max(0.7, 0.05 * (high - low).max()),
        f"{name} moves the picture {off:.2f} pixels away from what its affine says: a point "
        "(x, y) of the sample goes to step @ (x, y, 1), and compose(step, sample.affine)",
    )


def check_reduced(name: str, trial: Trial) -> None:
    """Have a transform with ``least`` read a picture that was decoded at half its size."""
    least = getattr(trial.step, "least", None)
    if least is None or trial.spec.dtype != "uint8" or trial.picture is not None:
        return
    height, width = trial.size
    needed = least(height, width)
    if 2 * needed[0] > height or 2 * needed[1] > width:
        return
    half = np.ascontiguousarray(trial.image()[::2, ::2])
    sample = trial.sample()
    sample.image = Picture(half, trial.spec.channels, (height, width), 2)
    try:
        made = list(trial.step(sample))
        shapes = [one.image.array().shape for one in made]
    except ValueError as error:
        raise AssertionError(
            f"{name} has least, so it must read its picture by Picture.resized alone: {error}"
        ) from error
    wanted = [(s.height, s.width, s.channels) for s in resolve_chain((trial.step,), trial.spec)]
    demand(shapes == wanted, f"{name} gives {shapes} of a reduced picture, and says {wanted}")
