"""Transforms that move whole pixels: mirror, flip, turn, cut a square.

A picture that is mirrored or flipped shows a left hand as a right one: where points or joints
go along, the recipe must name the pairs that change places.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from daskimg.errors import OptionError
from daskimg.transforms._affine import compose
from daskimg.transforms._moves import FOLLOWING, moved, sized, translation
from daskimg.transforms._streams import STREAMS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.transforms._protocol import Sample, Spec, TargetKind, TargetSpec

Pairs = tuple[tuple[int, int], ...]


class _Mirrored(ABC):
    """What the mirroring transforms share: left and right joints change places."""

    __slots__ = ()
    carries: ClassVar[frozenset[TargetKind]] = FOLLOWING

    pairs: Pairs

    def __post_init__(self) -> None:
        """Refuse pairs that are none."""
        object.__setattr__(self, "pairs", _paired(self.pairs))

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec``; refuse points without pairs."""
        for target in spec.targets:
            if target.kind in ("points", "joints"):
                self._check_joints(target)
        return [spec]

    def _check_joints(self, target: TargetSpec) -> None:
        name = type(self).__name__
        if not self.pairs:
            raise OptionError(
                f"{name} makes left joints of {target.name} right ones, and no pairs are "
                "given; try pairs = [[left, right], ...]"
            )
        last = max(max(pair) for pair in self.pairs)
        if last >= target.shape[0]:
            raise OptionError(
                f"{name} has pairs up to joint {last}, and {target.name} has "
                f"{target.shape[0]} joints; number them from 0"
            )

    def _turned(self, sample: Sample, quarters: int) -> Sample:
        """Return the sample mirrored left to right, then turned, joints swapped."""
        made = turned(sample, quarters, mirror=True)
        for name, target in made.targets.items():
            if target.kind in ("points", "joints"):
                order = np.arange(len(target.array))
                for left, right in self.pairs:
                    order[[left, right]] = right, left
                made.targets[name] = target._replace(array=target.array[order])
        return made


@dataclass(frozen=True, slots=True)
class Mirror(_Mirrored):
    """Exchange left and right; a point x becomes width - x.

    Attributes
    ----------
    pairs
        Numbers of the joints that change places, (left, right) each; needed where points or
        joints go along.
    """

    pairs: Pairs = ()

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample mirrored."""
        return [self._turned(sample, 0)]


@dataclass(frozen=True, slots=True)
class Flip(_Mirrored):
    """Turn upside down without turning left and right: a point y becomes height - y.

    This too makes left joints right ones: ``pairs`` are as in ``Mirror``.
    """

    pairs: Pairs = ()

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample flipped."""
        return [self._turned(sample, 2)]


@dataclass(frozen=True, slots=True)
class RandomMirror(_Mirrored):
    """Exchange left and right of about every second picture, drawn by (seed, row, part).

    Attributes
    ----------
    p
        Probability of being mirrored.
    pairs
        As in ``Mirror``.
    """

    p: float = 0.5
    pairs: Pairs = ()

    def __post_init__(self) -> None:
        """Refuse a probability that is none."""
        _Mirrored.__post_init__(self)
        given: object = self.p
        if not isinstance(given, int | float) or not 0 <= given <= 1:
            raise OptionError(f"p must be a probability of 0 to 1, got {given!r}; try 0.5")

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample, mirrored or not."""
        drawn = sample.rng(STREAMS["random-mirror"]).random()
        return [self._turned(sample, 0) if drawn < self.p else sample]


@dataclass(frozen=True, slots=True)
class Rotate:
    """Turn counter-clockwise by ``quarters`` times 90 degrees; negative: clockwise."""

    quarters: int = 1

    carries: ClassVar[frozenset[TargetKind]] = FOLLOWING

    def __post_init__(self) -> None:
        """Refuse part of a quarter."""
        given: object = self.quarters
        if not isinstance(given, int) or isinstance(given, bool):
            raise OptionError(f"quarters must be a whole number of turns, got {given!r}; try 1")

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec``, height and width exchanged by odd turns."""
        sides = spec.height, spec.width
        return [sized(spec, *(sides[::-1] if self.quarters % 2 else sides))]

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample turned."""
        return [turned(sample, self.quarters)]


@dataclass(frozen=True, slots=True)
class SquareCrop:
    """Cut out the centre: a square whose side is the picture's shorter one.

    Its size depends on the picture, so a step with a size must follow. Of an odd rest the
    smaller half is cut off at the top or the left.
    """

    carries: ClassVar[frozenset[TargetKind]] = FOLLOWING

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec`` as a square, of a side that may be unknown."""
        known = spec.height is not None and spec.width is not None
        side = min(spec.height or 0, spec.width or 0) if known else None
        return [sized(spec, side, side)]

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the centre of the sample."""
        height, width = sample.image.height, sample.image.width
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2

        def cut(mask: NDArray[Any], _fill: int) -> NDArray[Any]:
            return mask[top : top + side, left : left + side]

        image = sample.image.window(top, left, side, side)
        return [moved(sample, image, translation(-left, -top), cut)]


def _paired(given: object) -> Pairs:
    """Return pairs of joints as TOML or a user gives them, or refuse them."""
    rows = given if isinstance(given, list | tuple) else (given,)
    pairs = tuple(tuple(row) if isinstance(row, list | tuple) else (row,) for row in rows)
    joints = [joint for pair in pairs for joint in pair]
    numbers = all(isinstance(j, int) and not isinstance(j, bool) and j >= 0 for j in joints)
    if not numbers or any(len(pair) != 2 for pair in pairs) or len(set(joints)) < len(joints):
        raise OptionError(
            f"pairs must be (left, right) numbers of joints, each joint in one pair, got "
            f"{given!r}; try [[0, 5], [1, 4]]"
        )
    return pairs


def turned(sample: Sample, quarters: int, *, mirror: bool = False) -> Sample:
    """Return the sample mirrored left to right, if asked, then turned counter-clockwise."""

    def cut(mask: NDArray[Any], _fill: int) -> NDArray[Any]:
        return np.rot90(mask[:, ::-1] if mirror else mask, quarters)

    height, width = sample.image.height, sample.image.width
    step = np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0]]) if mirror else translation(0, 0)
    for _ in range(quarters % 4):
        step = compose(np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, width]]), step)
        height, width = width, height
    return moved(sample, sample.image.turned(quarters, mirror=mirror), step, cut)
