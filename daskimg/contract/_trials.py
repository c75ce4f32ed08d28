"""What a transform is tried on: pictures of many kinds, with every kind of target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from daskimg.decode import Picture
from daskimg.errors import DaskimgError, OptionError, PlanError
from daskimg.transforms import Sample, Spec, Target, TargetSpec, Transform, resolve_chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from daskimg.options import DType
    from daskimg.transforms import TargetKind

JOINTS = 32
"""Joints of each sample: more than pairs of left and right are likely to number."""

EARLIER = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
"""The affine of each sample, as if a step had stood before."""

WHITES: dict[DType, int] = {"uint8": 255, "uint16": 65535, "float32": 1}
"""The greatest level of each dtype."""


@dataclass(frozen=True)
class Trial:
    """A transform, a spec that it accepts, and what makes samples of that spec."""

    step: Any
    spec: Spec
    seed: int
    picture: NDArray[Any] | None
    cells: Mapping[str, Any]

    def sample(self, image: NDArray[Any] | None = None) -> Sample:
        """Return a new sample, sharing nothing with others."""
        array = self.image() if image is None else image
        targets = {target.name: self._target(target) for target in self.spec.targets}
        return Sample(
            Picture.from_array(array),
            affine=EARLIER.copy(),
            targets=targets,
            seed=self.seed,
            row=3,
            part=2,
            cells=self.cells,
            mode=self.spec.mode or "",
        )

    def image(self) -> NDArray[Any]:
        """Return the picture: the user's, or a smooth one of middling levels."""
        if self.picture is not None:
            return self.picture.copy()
        height, width = self.size
        y, x = np.mgrid[:height, :width]
        grey = 96 + 60 * x // width + 40 * y // height
        levels = np.stack([grey + 3 * i for i in range(self.spec.channels)], 2)
        scaled: NDArray[Any] = levels * (WHITES[self.spec.dtype] / 255)
        return scaled.astype(self.spec.dtype)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.spec.height or 0, self.spec.width or 0

    def points(self) -> NDArray[np.float32]:
        """Return points all over the picture, (joint, xy)."""
        height, width = self.size
        count = np.arange(JOINTS)
        across, down = count * 0.618034 % 1, count * 0.754878 % 1
        return np.stack([across * width, down * height], 1).astype(np.float32)

    def _target(self, target: TargetSpec) -> Target:
        if target.kind == "mask":
            y, x = np.mgrid[: target.shape[0], : target.shape[1]]
            return Target("mask", np.stack([x + 1, y + 1], 2).astype(np.uint16))
        if target.kind == "points":
            return Target("points", self.points())
        return Target(target.kind, np.arange(1, JOINTS + 1, dtype=np.uint8))


def make_trials(
    step: Transform, picture: NDArray[Any] | None, cells: Mapping[str, Any]
) -> Iterator[Trial]:
    """Yield what the transform accepts: each size once in colour, and one in each other way."""
    given = None if picture is None else np.atleast_3d(picture)
    if given is not None:
        height, width, channels = given.shape
        kind = cast("DType", Picture.from_array(given).dtype)
        spec = Spec(height, width, channels, kind, mode="RGB")
        yield from _accepted(step, spec, 0, given, cells)
    sizes = _sizes(step)
    for seed, size in enumerate(sizes):
        yield from _accepted(step, Spec(*size, 3, "uint8", mode="RGB"), seed, None, cells)
    ways: list[tuple[int, DType, str]] = [
        (1, "uint8", "L"),
        (3, "uint8", "L"),
        (3, "uint16", "RGB"),
        (3, "float32", "RGB"),
        (1, "uint16", "I;16"),
    ]
    for channels, dtype, mode in ways:
        yield from _accepted(step, Spec(*sizes[0], channels, dtype, mode=mode), 0, None, cells)


def _sizes(step: Transform) -> list[tuple[int, int]]:
    """Return sizes below, at and above that of the output."""
    height, width = 24, 32
    for channels in (3, 1):
        try:
            for spec in resolve_chain((step,), Spec(None, None, channels, "uint8")):
                height, width = spec.height or height, spec.width or width
        except DaskimgError:
            continue
    return [
        (2 * height + 5, 3 * width + 1),
        (height, width),
        (height, 2 * width),
        (height + 3, max(1, width - 1)),
        (max(1, height // 2), 2 * width + 1),
        (7, 5),
        (1, 1),
    ]


def _accepted(
    step: Transform,
    spec: Spec,
    seed: int,
    picture: NDArray[Any] | None,
    cells: Mapping[str, Any],
) -> Iterator[Trial]:
    """Yield a trial with as many targets as the transform takes, or none if it takes no such."""
    carried: frozenset[TargetKind] = getattr(step, "carries", frozenset())
    targets = [target for target in _targets(spec) if target.kind in {*carried, "values"}]
    without_joints = [t for t in targets if t.kind in ("mask", "values")]
    for wanted in (targets, without_joints):
        full = replace(spec, targets=tuple(wanted))
        try:
            resolve_chain((step,), full)
        except (OptionError, PlanError):
            continue
        yield Trial(step, full, seed, picture, cells)
        return


def _targets(spec: Spec) -> list[TargetSpec]:
    size = spec.height or 0, spec.width or 0
    axes = ("mask_height", "mask_width", "mask_channel")
    return [
        TargetSpec("mask", "mask", axes, (*size, 2), "uint16"),
        TargetSpec("keypoint", "points", ("joint", "xy"), (JOINTS, 2), "float32"),
        TargetSpec("visible", "joints", ("joint",), (JOINTS,), "uint8"),
        TargetSpec("other", "values", ("joint",), (JOINTS,), "uint8"),
    ]
