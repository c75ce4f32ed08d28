"""What an augmentation means for one store: checked before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.augment import Who, moved_affines, moved_points, moves_of, swapped
from daskimg.errors import OptionError
from daskimg.heatmaps import draw_heatmaps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from daskimg.augment import Augment, Moment, Moves
    from daskimg.read._samples import Samples

_POINTS, _VISIBLE = "keypoint", "visible"
_FOLLOWING = ("mask", "points", "joints", "affine", "label")


class Changes:
    """Changes to the samples of a store.

    Parameters
    ----------
    samples
        Those that are read.
    augment
        What is done to them.
    targets
        Names of what is read besides images.

    Raises
    ------
    OptionError
        If it cannot be done to these samples and targets.
    """

    def __init__(self, samples: Samples, augment: Augment, targets: Sequence[str]) -> None:
        self.augment = augment
        self._stored: tuple[int, int] = tuple(samples.image.shape[1:3])
        self.size: tuple[int, int] = augment.crop or self._stored
        self.kinds = {name: _kind_of(samples, name) for name in targets}
        _check_image(samples, augment)
        if augment.moves:
            _check_targets(samples, augment, self.kinds)
        self._joints = self._read_joints(samples)

    def _read_joints(self, samples: Samples) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return all joints and whether they are visible, if they decide anything."""
        if self.augment.margin is None and self.augment.heatmap is None:
            return None
        if not {_POINTS, _VISIBLE} <= set(samples.targets):
            what = "margin" if self.augment.margin is not None else "heatmap"
            raise OptionError(
                f"{what} needs joints, the targets {_POINTS} and {_VISIBLE}, and the store has "
                f"{', '.join(samples.targets) or 'none'}; leave it out"
            )
        return samples.array(_POINTS), samples.array(_VISIBLE)

    @property
    def drawn(self) -> tuple[int, ...] | None:
        """(height, width, joint) of heatmaps that are drawn, if any are."""
        if self.augment.heatmap is None or self._joints is None:
            return None
        return (*self.augment.heatmap, self._joints[0].shape[1])

    def moves(self, places: NDArray[np.int64], who: Who, moment: Moment) -> Moves:
        """Return what is done to the samples at some places."""
        boxes = None
        if self.augment.margin is not None and self._joints is not None:
            boxes = _boxes(*(each[places] for each in self._joints))
        return moves_of(self.augment, self._stored, who, moment, boxes)

    def moved(self, small: Mapping[str, NDArray[Any]], moves: Moves) -> dict[str, NDArray[Any]]:
        """Return the small targets of a batch, moved along with its pictures."""
        return {
            name: self._moved(self.kinds.get(name), each, moves) for name, each in small.items()
        }

    def moves_pixels(self, name: str) -> bool:
        """Tell whether an array is pictures or masks, whose pixels move."""
        return name == "image" or self.kinds.get(name) == "mask"

    def drawing(
        self, places: NDArray[np.int64], moves: Moves
    ) -> Callable[[NDArray[np.int64]], NDArray[np.float32]] | None:
        """Return what draws heatmaps of some lines from their joints, if they are wanted."""
        heatmap = self.augment.heatmap
        if heatmap is None or self._joints is None:
            return None
        points, visible = (each[places] for each in self._joints)
        points, visible = (
            self._moved("points", points, moves),
            self._moved("joints", visible, moves),
        )
        (height, width), sigma = heatmap, self.augment.sigma
        return lambda lines: draw_heatmaps(
            points[lines], visible[lines], image_size=self.size, size=(height, width), sigma=sigma
        )

    def _moved(self, kind: str | None, values: NDArray[Any], moves: Moves) -> NDArray[Any]:
        if kind == "affine":
            return moved_affines(values, moves)
        if kind == "points":
            return swapped(moved_points(values, moves), moves, self.augment.pairs)
        return swapped(values, moves, self.augment.pairs) if kind == "joints" else values


def _kind_of(samples: Samples, name: str) -> str:
    """Return how a target moves with its picture, by its axes."""
    axes = samples.axes(name)
    if name == "affine":
        return "affine"
    if name in samples.attributes["columns"] or len(axes) == 1:
        return "label"
    if len(axes) == 4:
        return "heatmap" if "heatmap" in axes[1] else "mask"
    if len(axes) == 3 and axes[-1] == "xy":
        return "points"
    return "joints" if len(axes) == 2 and axes[-1] == "joint" else "other"


def _check_image(samples: Samples, augment: Augment) -> None:
    height, width, channels = samples.image.shape[1:]
    dtype = samples.image.dtype
    if augment.crop is not None and not augment.scales:
        tall, wide = augment.crop
        if tall > height or wide > width:
            raise OptionError(
                f"crop is {tall} x {wide}, and the store's pictures are {height} x {width}; try "
                f"({min(tall, height)}, {min(wide, width)}), or scale=(0.08, 1.0) to enlarge parts"
            )
    if (augment.scales or augment.colours) and dtype != np.uint8:
        what = "scale and margin" if augment.scales else "brightness, contrast and saturation"
        raise OptionError(
            f"{what} work on uint8 pictures, and the store's are {dtype}; leave them out"
        )
    if augment.colours and channels not in (1, 3):
        raise OptionError(
            f"brightness, contrast and saturation need 1 or 3 channels, and the store's "
            f"pictures have {channels}; leave them out"
        )


def _check_targets(samples: Samples, augment: Augment, kinds: Mapping[str, str]) -> None:
    """Refuse targets that cannot move along."""
    for name, kind in kinds.items():
        if kind not in _FOLLOWING and not (kind == "heatmap" and augment.heatmap is not None):
            advice = "; heatmap=(64, 64) draws it anew" if kind == "heatmap" else ""
            raise OptionError(
                f"the target {name} cannot move along with the pictures{advice}; leave it out of "
                "targets, or crop, scale, margin and mirror out of the augmentation"
            )
        if kind == "mask":
            _check_mask(name, samples.target(name).shape[1:3], samples.image.shape[1:3])
    joints = [name for name, kind in kinds.items() if kind in ("points", "joints")]
    if augment.heatmap is not None:
        joints = [*joints, _POINTS] if _POINTS in samples.targets else joints
    if augment.mirror > 0:
        for name in joints:
            _check_pairs(name, samples.target(name).shape[1], augment.pairs)


def _check_mask(name: str, mask: tuple[int, int], image: tuple[int, int]) -> None:
    if mask != image:
        raise OptionError(
            f"{name} is {mask[0]} x {mask[1]}, and cannot move along with pictures of "
            f"{image[0]} x {image[1]}; leave it out of targets"
        )


def _check_pairs(name: str, count: int, pairs: Sequence[tuple[int, int]]) -> None:
    if not pairs:
        raise OptionError(
            f"mirror makes left joints of {name} right ones, and no pairs are given; try "
            "pairs=((left, right), ...), or mirror=0"
        )
    last = max(max(pair) for pair in pairs)
    if last >= count:
        raise OptionError(
            f"there are pairs up to joint {last}, and {name} has {count} joints; number them "
            "from 0"
        )


def _boxes(points: NDArray[Any], visible: NDArray[Any]) -> NDArray[np.float64]:
    """Return (sample, 4): left, top, right and bottom of visible joints; NaN without any."""
    seen = (visible > 0) & (points != -1).any(axis=-1)
    low = np.where(seen[..., None], points, np.inf).min(axis=1)
    high = np.where(seen[..., None], points, -np.inf).max(axis=1)
    boxes = np.concatenate([low, high], axis=1).astype(np.float64)
    boxes[~seen.any(axis=1)] = np.nan
    return boxes
