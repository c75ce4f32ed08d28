"""What a transform is, and what passes through it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from daskimg.errors import OptionError, PlanError
from daskimg.options import given
from daskimg.transforms._affine import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from daskimg.decode import Picture
    from daskimg.options import DType

TargetKind = Literal["mask", "points", "joints", "heatmap", "values"]


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """An array that goes with the image, one entry a sample.

    Attributes
    ----------
    name
        The array's name in the store.
    kind
        ``mask``: (height, width, channel), moved with the picture, never interpolated.
        ``points``: (joint, 2) of x and y, mapped by the affine; NaN where missing.
        ``joints``: (joint, ...), a value a joint: mirroring swaps left and right.
        ``heatmap``: drawn from points that are final; no geometry may follow.
        ``values``: left as it is.
    axes
        Names of the axes behind ``sample``; another length needs another name.
    shape
        Length of each of ``axes``. A mask's height and width are 0 where they depend on the
        source.
    dtype
        NumPy name of the element type.
    """

    name: str
    kind: TargetKind
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str


class Target(NamedTuple):
    """A sample's own entry of a target array, and the kind that says how it moves.

    ``fill`` is what a mask holds where a transform pads.
    """

    kind: TargetKind
    array: NDArray[Any]
    fill: int = 0


@dataclass(frozen=True, slots=True)
class Spec:
    """What a sample looks like, known without its pixels.

    ``height`` and ``width`` are ``None`` where they depend on the source, and so is ``mode``,
    the source's mode as Pillow calls it, until its header has been read.
    """

    height: int | None
    width: int | None
    channels: int
    dtype: DType
    targets: tuple[TargetSpec, ...] = ()
    mode: str | None = None


_NO_CELLS: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True)
class Sample:
    """One picture on its way through a recipe.

    Attributes
    ----------
    image
        The picture; ``image.array()`` is (height, width, channel).
    affine
        (2, 3) float64, from source to output coordinates (x, y).
    targets
        Entries by the array's name, as the spec's ``targets`` say.
    seed, row, part
        What randomness may depend on: the recipe's seed, the row of the manifest, and
        which of the row's samples this is.
    cells
        The row's cells in the columns that the recipe's steps name in ``columns``; not to be
        changed.
    mode
        The source's mode as Pillow calls it: ``RGB``, ``L``, ``P`` ...
    """

    image: Picture
    affine: NDArray[np.float64] = field(default_factory=lambda: IDENTITY)
    targets: dict[str, Target] = field(default_factory=dict)
    seed: int = 0
    row: int = 0
    part: int = 0
    cells: Mapping[str, Any] = field(default_factory=lambda: _NO_CELLS)
    mode: str = ""

    def rng(self, stream: int) -> np.random.Generator:
        """Return random numbers that depend on nothing but (seed, row, part, stream).

        A Philox counter (Salmon et al., SC'11, doi:10.1145/2063384.2063405): the same on
        every worker, on a retry, and whatever the partitioning.
        """
        counter = [0, self.part, self.row, stream]
        return np.random.Generator(np.random.Philox(key=self.seed, counter=counter))


@runtime_checkable
class Transform(Protocol):
    """A step from sample to samples; implement it as a frozen dataclass."""

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return the specs of the outputs, or raise ``OptionError``."""
        ...

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return as many samples as ``resolve`` returns specs."""
        ...


def resolve_chain(transforms: tuple[Transform, ...], start: Spec) -> list[Spec]:
    """Return the specs of all samples that a row becomes; checked before a byte is read.

    Raises
    ------
    PlanError
        If a target meets a transform that has no rule for its kind.
    OptionError
        If a transform refuses its input.
    """
    specs = [start]
    for step in transforms:
        for spec in specs:
            _check_carried(step, spec)
        specs = [made for spec in specs for made in resolved(step, spec)]
    return specs


def resolved(step: Transform, spec: Spec) -> list[Spec]:
    """Return what one step makes of a spec, or refuse what is no list of specs.

    Raises
    ------
    OptionError
        Naming the transform: most often it returns the one spec itself.
    """
    made: object = step.resolve(spec)
    if isinstance(made, list | tuple) and all(isinstance(each, Spec) for each in made):
        return list(made)
    raise OptionError(
        f"{type(step).__name__}.resolve(spec) must return a list of Spec, got {given(made)}; "
        "write return [replace(spec, ...)], or [spec] where nothing changes"
    )


def _check_carried(step: Transform, spec: Spec) -> None:
    carried: frozenset[TargetKind] = getattr(step, "carries", frozenset())
    for target in spec.targets:
        if target.kind != "values" and target.kind not in carried:
            raise PlanError(
                f"{type(step).__name__} has no rule for {target.name}, a target of kind "
                f"{target.kind}; give it one and say carries = frozenset({{{target.kind!r}}})"
            )
