"""Heatmaps as a target: drawn once the joints are where they will stay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from daskimg.errors import OptionError
from daskimg.heatmaps import draw_heatmaps
from daskimg.options import whole
from daskimg.transforms._protocol import Target, TargetSpec

if TYPE_CHECKING:
    from daskimg.transforms._protocol import Sample, Spec, TargetKind

_AXES = ("heatmap_height", "heatmap_width", "joint")


@dataclass(frozen=True, slots=True)
class Heatmaps:
    """Draw the target ``heatmap``: a Gaussian around each visible joint inside the picture.

    (heatmap_height, heatmap_width, joint) float32; see ``daskimg.heatmaps.draw_heatmaps`` for
    the formula. Picture, joints and masks are left as they are. It is the last step but for
    those that only change colours: what moves the picture has no rule for a heatmap.

    Attributes
    ----------
    height, width
        Of a heatmap, in pixels.
    sigma
        Standard deviation of the Gaussian, in pixels of the heatmap.
    points, visible
        The targets to draw from, of kinds ``points`` and ``joints``.
    """

    carries: ClassVar[frozenset[TargetKind]] = frozenset({"mask", "points", "joints", "heatmap"})

    height: int = 64
    width: int = 64
    sigma: float = 2.0
    points: str = "keypoint"
    visible: str = "visible"

    def __post_init__(self) -> None:
        """Refuse a heatmap without pixels, and a Gaussian that no pixel would show."""
        for name in ("height", "width"):
            whole(name, getattr(self, name), "try 64")
        if not 0.01 <= self.sigma <= 1e6:
            raise OptionError(
                f"sigma must be a number of 0.01 to 1e6 pixels, got {self.sigma}; try 2.0"
            )

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec`` with the target ``heatmap``."""
        found = {target.name: target for target in spec.targets}
        points, visible = found.get(self.points), found.get(self.visible)
        if not points or not visible or (points.kind, visible.kind) != ("points", "joints"):
            raise OptionError(
                f"Heatmaps needs the targets {self.points} (points) and {self.visible} (joints), "
                f"there are {', '.join(found) or 'none'}; declare Keypoints()"
            )
        if "heatmap" in found:
            raise OptionError("there is a target heatmap already; leave one Heatmaps out")
        shape = self.height, self.width, points.shape[0]
        heatmap = TargetSpec("heatmap", "heatmap", _AXES, shape, "float32")
        return [replace(spec, targets=(*spec.targets, heatmap))]

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample with its heatmaps."""
        drawn = draw_heatmaps(
            sample.targets[self.points].array,
            sample.targets[self.visible].array,
            image_size=(sample.image.height, sample.image.width),
            size=(self.height, self.width),
            sigma=self.sigma,
        )
        targets = {**sample.targets, "heatmap": Target("heatmap", drawn)}
        return [replace(sample, targets=targets)]
