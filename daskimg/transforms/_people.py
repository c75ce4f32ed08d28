"""One person of a picture: the region around them, by their centre or by their joints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, get_args

import numpy as np

from daskimg.cells import numbers
from daskimg.decode import Picture
from daskimg.errors import OptionError, SampleError
from daskimg.options import Resampling, one_of, whole
from daskimg.transforms._affine import IDENTITY, apply_affine, compose
from daskimg.transforms._placed import at_size
from daskimg.transforms._streams import STREAMS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.transforms._protocol import Sample, Spec, Target, TargetKind

MPII_JOINTS = (
    "right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle",
    "pelvis", "thorax", "upper neck", "head top",
    "right wrist", "right elbow", "right shoulder", "left shoulder", "left elbow", "left wrist",
)  # fmt: skip
"""What MPII calls its joints, in the order of its files (doi:10.1109/CVPR.2014.471)."""

MPII_PAIRS = ((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13))
"""Which of MPII's joints are the right and the left of a pair: mirroring swaps them."""

_HEIGHT = 200  # pixels of a person of scale 1, by MPII's definition
_LEAST = 1  # pixels that a region must keep of the picture in each direction


class _Box(NamedTuple):
    """A region in continuous coordinates."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class PersonCrop:
    """Cut the region of one person and scale it to ``height`` x ``width``.

    The region is clipped to the picture: what is outside is not padded, so that a person at
    the edge is stretched rather than framed. A person with no part of the region inside the
    picture is a failed sample. The picture is decoded whole, since the region is the row's
    and no size of the picture says how large it is.

    Attributes
    ----------
    height, width
        Of the output, in pixels.
    region
        ``center``: a square around the person's centre, as high as the person. ``joints``:
        the box of the visible joints, of the targets that ``daskimg.targets.Keypoints`` reads.
    margin
        What is added to the region's height and width, half of it on each side: 0.25 makes
        it 1.25 times as high. Below 0 it is cut. By centre, 1.1 % of MPII's visible joints are
        outside with 0.25 and 0.1 % with 0.5 (998 validation records).
    jitter
        (least, greatest) margin, drawn for each sample instead of ``margin``.
    stretch
        Whether the region keeps its own shape and is stretched to the output's. Otherwise it
        is first extended to the output's shape, around its centre.
    center, size
        The manifest's columns of the person's centre, (x, y) in pixels of the upright
        picture, and of the person's height by 200 pixels, as MPII has them. For ``center``.
    method
        How the picture is resampled; masks are ``nearest``.
    """

    carries: ClassVar[frozenset[TargetKind]] = frozenset({"mask", "points", "joints"})

    height: int = 256
    width: int = 256
    region: Literal["center", "joints"] = "center"
    margin: float = 0.25
    jitter: tuple[float, float] | None = None
    stretch: bool = False
    center: str = "center"
    size: str = "scale"
    method: Resampling = "bicubic"

    def __post_init__(self) -> None:
        """Refuse an empty output, and margins that leave nothing."""
        for name in ("height", "width"):
            whole(name, getattr(self, name), "try 256")
        one_of("region", self.region, ("center", "joints"))
        one_of("method", self.method, get_args(Resampling))
        if not -1 < self.margin < np.inf:
            raise OptionError(f"margin must be over -1, got {self.margin}; try 0.25")
        if self.jitter is not None:
            _check_jitter(self.jitter)
            object.__setattr__(self, "jitter", tuple(self.jitter))  # a list, read from TOML

    @property
    def columns(self) -> tuple[str, ...]:
        """The manifest's columns that say where the person is."""
        return (self.center, self.size) if self.region == "center" else ()

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec`` at the output's size, masks with it."""
        found = {target.name: target.kind for target in spec.targets}
        wanted = found.get("keypoint"), found.get("visible")
        if self.region == "joints" and wanted != ("points", "joints"):
            raise OptionError(
                "PersonCrop by joints needs the targets keypoint and visible; declare "
                "Keypoints(), or say region = 'center'"
            )
        return [at_size(spec, self.height, self.width)]

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the person, and the targets moved with them.

        Raises
        ------
        SampleError
            If the row says nothing usable of where the person is, or outside the picture.
        """
        box = self._box(sample)
        step = self._affine(box)
        targets = {
            name: target._replace(array=self._moved(target, box, step))
            for name, target in sample.targets.items()
        }
        image = sample.image.resized(self.height, self.width, box=box, method=self.method)
        affine = step if sample.affine is IDENTITY else compose(step, sample.affine)
        return [replace(sample, image=image, affine=affine, targets=targets)]

    def _box(self, sample: Sample) -> _Box:
        if self.region == "joints":
            person = _around_joints(sample)
        else:
            person = _around_center(sample, self.center, self.size)
        return _clipped(self._extended(person, 1 + self._margin(sample)), sample.image)

    def _margin(self, sample: Sample) -> float:
        if self.jitter is None:
            return self.margin
        return float(sample.rng(STREAMS["person-crop"]).uniform(*self.jitter))

    def _extended(self, box: _Box, times: float) -> _Box:
        tall, wide = times * (box.bottom - box.top), times * (box.right - box.left)
        if not self.stretch:
            shape = self.width / self.height
            tall, wide = max(tall, wide / shape), max(wide, tall * shape)
        across, down = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        return _Box(across - wide / 2, down - tall / 2, across + wide / 2, down + tall / 2)

    def _affine(self, box: _Box) -> NDArray[np.float64]:
        across = self.width / (box.right - box.left)
        down = self.height / (box.bottom - box.top)
        return np.array([[across, 0.0, -box.left * across], [0.0, down, -box.top * down]])

    def _moved(self, target: Target, box: _Box, step: NDArray[np.float64]) -> NDArray[np.generic]:
        if target.kind == "mask":
            mask = Picture.from_array(target.array)
            return mask.resized(self.height, self.width, box=box, method="nearest").array()
        return apply_affine(step, target.array) if target.kind == "points" else target.array


def _check_jitter(jitter: tuple[float, ...]) -> None:
    if len(jitter) != 2 or not -1 < jitter[0] <= jitter[1] < np.inf:
        raise OptionError(
            f"jitter must be two margins over -1 that do not fall, got {list(jitter)}; "
            "try [0.1, 0.4]"
        )


def _around_center(sample: Sample, center: str, size: str) -> _Box:
    """Return the square of the person's height, in the sample's present coordinates."""
    x, y = numbers(sample.cells, center, (2,))
    half = float(numbers(sample.cells, size)) * _HEIGHT / 2
    if not half > 0 or np.isnan(x + y):
        found = f"{center} ({x:g}, {y:g}), {size} {half * 2 / _HEIGHT:g}"
        raise SampleError("target", f"no person: {found}")
    return _box_of(
        apply_affine(sample.affine, np.array([[x - half, y - half], [x + half, y + half]]))
    )


def _around_joints(sample: Sample) -> _Box:
    points = sample.targets["keypoint"].array.astype(np.float64)
    visible = (sample.targets["visible"].array > 0) & ~np.isnan(points).any(axis=1)
    if not visible.any():
        raise SampleError("target", "no joint is visible")
    return _box_of(points[visible])


def _box_of(points: NDArray[np.float64]) -> _Box:
    """Return the least box around (point, xy)."""
    return _Box(*map(float, points.min(axis=0)), *map(float, points.max(axis=0)))


def _clipped(box: _Box, image: Picture) -> _Box:
    inside = _Box(
        max(box.left, 0.0),
        max(box.top, 0.0),
        min(box.right, float(image.width)),
        min(box.bottom, float(image.height)),
    )
    if inside.right - inside.left < _LEAST or inside.bottom - inside.top < _LEAST:
        where = f"{box.left:.0f}, {box.top:.0f} to {box.right:.0f}, {box.bottom:.0f}"
        raise SampleError(
            "target",
            f"the person at {where} is not in a picture of {image.width} x {image.height}",
        )
    return inside
