"""What is shown of a sample: its pixels as an array, and in words what goes with them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskimg.errors import SampleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from daskimg.decode import Picture
    from daskimg.recipe import Stage
    from daskimg.transforms import Sample, Target

SHOWN = 8
"""Samples of a stage that are looked at; a picture may become ten thousand tiles."""

_VALUES = 10  # of a mask that are named


@dataclass(frozen=True, eq=False)
class PreviewSample:
    """A sample as it was after a step.

    Attributes
    ----------
    picture
        Its picture, which may have been decoded at a reduced scale, or not at all yet.
    affine
        (2, 3) float64, from source to these coordinates (x, y).
    targets
        What goes with the picture, by the array's name: its kind, its array, its fill.
    """

    picture: Picture
    affine: NDArray[np.float64]
    targets: Mapping[str, Target]

    @property
    def image(self) -> NDArray[Any]:
        """(height, width, channel), read-only; of a reduced picture each pixel is repeated.

        Raises
        ------
        SampleError
            If the picture has more pixels than may be decoded at once.
        """
        return self.picture.pixels()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the image."""
        return self.picture.height, self.picture.width, self.picture.channels


@dataclass(frozen=True, eq=False)
class PreviewStage:
    """What a row has become after a step.

    Attributes
    ----------
    name
        The step's short name or its ``module:Class``; ``decode`` comes first.
    settings
        The name, and those of the step's settings that are not its defaults.
    samples
        In order: one, several, or none if the step left the row out.
    """

    name: str
    settings: str
    samples: tuple[PreviewSample, ...]

    @property
    def more(self) -> int:
        """How many samples there are behind those that are shown."""
        return max(0, len(self.samples) - SHOWN)

    def lines(self) -> Iterator[str]:
        """Yield what there is to say: shapes, levels, targets."""
        if not self.samples:
            yield "no sample: the row ends here"
            return
        first = self.samples[0]
        yield f"{_counted(self.samples)}; {self._levels()}"
        if first.picture.scale > 1:
            yield f"decoded at {8 / first.picture.scale:g}/8 of its size, which is enough"
        if len(self.samples) == 1 and not (first.affine == np.eye(2, 3)).all():
            yield f"from the source: {_affine(first.affine)}"
        for name, target in first.targets.items():
            if target.kind == "joints" and _tells_of_points(target, first):
                continue  # told with the points
            words = _target(target, first)
            yield f"{name}: {words}" + (" (the first sample's)" if len(self.samples) > 1 else "")

    def _levels(self) -> str:
        """Return the levels of the samples that are shown; more may not fit in memory."""
        try:
            found = [_Levels.of(sample.image) for sample in self.samples[:SHOWN]]
        except SampleError as error:
            return f"not decoded as a whole ({error.message})"
        least, greatest = min(each.least for each in found), max(each.greatest for each in found)
        mean = sum(each.total for each in found) / sum(each.values for each in found)
        of = f" (of the first {SHOWN})" if self.more else ""
        return f"least {least:g}, mean {mean:.4g}, greatest {greatest:g}{of}"


class _Levels(NamedTuple):
    least: float
    total: float
    values: int
    greatest: float

    @classmethod
    def of(cls, image: NDArray[Any]) -> _Levels:
        total = float(image.sum(dtype=np.float64))
        return cls(float(image.min()), total, image.size, float(image.max()))


def stage_of(stage: Stage, settings: str) -> PreviewStage:
    """Return a stage of a recipe as it is shown."""
    return PreviewStage(stage.name, settings, tuple(map(_sample, stage.samples)))


def _sample(sample: Sample) -> PreviewSample:
    return PreviewSample(sample.image, sample.affine, dict(sample.targets))


def _counted(samples: tuple[PreviewSample, ...]) -> str:
    shapes = dict.fromkeys(sample.shape for sample in samples)
    first, last = next(iter(shapes)), next(reversed(shapes))
    size = " x ".join(map(str, first)) + f" {samples[0].picture.dtype}"
    if len(shapes) > 1:
        size += f" ... {' x '.join(map(str, last))} ({len(shapes):,} sizes)"
    return f"{len(samples):,} sample{'s' * (len(samples) > 1)} of {size}"


def _affine(affine: NDArray[np.float64]) -> str:
    (a, b, c), (d, e, f) = affine.tolist()
    return f"x' = {_sum(a, b, c)}, y' = {_sum(d, e, f)}"


def _sum(across: float, down: float, shift: float) -> str:
    """Return a row of an affine as a sum, without what is nothing."""
    terms = [f"{across:.4g} x" * (across != 0), f"{down:.4g} y" * (down != 0)]
    text = " + ".join(filter(None, [*terms, f"{shift:.4g}" * (shift != 0)])) or "0"
    return text.replace("+ -", "- ")


def _target(target: Target, sample: PreviewSample) -> str:
    array = target.array
    shape = " x ".join(map(str, array.shape)) or "one"
    text = f"{shape} {array.dtype}"
    if target.kind == "points":
        return f"{text}, {_joints(array, visible_of(sample, array), sample)}"
    if target.kind == "heatmap":
        drawn = int((array.reshape(-1, array.shape[-1]) > 0).any(axis=0).sum())
        return f"{text}, {drawn} of {array.shape[-1]} drawn, greatest {float(array.max()):.3g}"
    if target.kind == "mask":
        values = np.unique(array)
        more = " ..." if len(values) > _VALUES else ""
        return f"{text}, values {', '.join(map(str, islice(values.tolist(), _VALUES)))}{more}"
    return text


def _joints(points: NDArray[Any], visible: NDArray[np.bool_], sample: PreviewSample) -> str:
    there = ~np.isnan(points).any(axis=1)
    inside = ((points >= 0) & (points < (sample.picture.width, sample.picture.height))).all(axis=1)
    counts = {
        "visible": there & visible,
        "hidden": there & ~visible,
        "missing": ~there,
        "outside the picture": there & ~inside,
    }
    return ", ".join(f"{int(each.sum())} {name}" for name, each in counts.items() if each.any())


def _tells_of_points(target: Target, sample: PreviewSample) -> bool:
    points = [each.array for each in sample.targets.values() if each.kind == "points"]
    return any(target.array.shape == array.shape[:1] for array in points)


def visible_of(sample: PreviewSample, points: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (joint,) which of a sample's points are visible; all, if nothing tells."""
    for target in sample.targets.values():
        if target.kind == "joints" and target.array.shape == points.shape[:1]:
            return np.asarray(target.array > 0)
    return np.ones(len(points), np.bool_)
