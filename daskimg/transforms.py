"""Steps from sample to samples: each says what it returns before it is run.

A transform is a frozen dataclass (pickled to every worker, written to TOML, part of the
store's fingerprint) with two methods::

    resolve(spec) -> list[Spec]        what it makes of a spec, without pixels
    __call__(sample) -> list[Sample]   the same number of samples

One element for a map, several for tiles or flips, none for a filter. It may have a third,
``least(height, width) -> (height, width)``: the fewest pixels of a source of that size it can
use. A JPEG is then decoded at a reduced scale, if the transform is the first of its recipe;
it must read its picture through ``Picture.resized`` only. And it may say
``carries = frozenset({"mask", "points"})``: the kinds of target it moves along. A recipe in
which a target meets a transform without a rule for its kind is refused before it runs.

Geometry is an affine: ``sample.affine`` maps a point (x, y) of the source, after EXIF
orientation, to the output. Coordinates are continuous: pixel ``i`` covers ``[i, i + 1)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    ClassVar,
    Literal,
    NamedTuple,
    Protocol,
    get_args,
    runtime_checkable,
)

import numpy as np

from daskimg.decode import Picture
from daskimg.errors import OptionError, PlanError
from daskimg.options import DType, Resampling, colour, one_of, whole

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

TargetKind = Literal["mask", "points", "values"]


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """An array that goes with the image, one entry a sample.

    Attributes
    ----------
    name
        The array's name in the store.
    kind
        ``mask``: (height, width, channel), moved with the picture, never interpolated.
        ``points``: (..., 2) of x and y, mapped by the affine. ``values``: left as it is.
    axes
        Names of the axes behind ``sample``; another length needs another name.
    shape
        Length of each of ``axes``.
    dtype
        NumPy name of the element type.
    """

    name: str
    kind: TargetKind
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str


class Target(NamedTuple):
    """A sample's own entry of a target array, and the kind that says how it moves."""

    kind: TargetKind
    array: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a sample looks like, known without its pixels.

    ``height`` and ``width`` are ``None`` where they depend on the source.
    """

    height: int | None
    width: int | None
    channels: int
    dtype: DType
    targets: tuple[TargetSpec, ...] = ()


IDENTITY: NDArray[np.float64] = np.eye(2, 3)
"""The affine of a picture to which nothing has been done yet; read-only."""
IDENTITY.flags.writeable = False


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
    """

    image: Picture
    affine: NDArray[np.float64] = field(default_factory=lambda: IDENTITY)
    targets: dict[str, Target] = field(default_factory=dict)
    seed: int = 0
    row: int = 0
    part: int = 0

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


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a source lands: scaled to (``tall``, ``wide``), then put at (``top``, ``left``).

    A negative offset crops the scaled picture, a positive one leaves a border.
    """

    tall: int
    wide: int
    top: int
    left: int


class _Placed(ABC):
    """What the placing transforms share: every kind of target moves with the picture."""

    __slots__ = ()
    carries: ClassVar[frozenset[TargetKind]] = frozenset({"mask", "points"})

    height: int
    width: int
    method: Resampling

    @abstractmethod
    def placement(self, height: int, width: int) -> Placement:
        """Return where a source of ``height`` x ``width`` lands."""

    def least(self, height: int, width: int) -> tuple[int, int]:
        """Return the fewest pixels of the source that the output needs."""
        place = self.placement(height, width)
        return place.tall, place.wide

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec`` at the output's size, masks with it."""
        targets = tuple(self._resolved(target) for target in spec.targets)
        return [replace(spec, height=self.height, width=self.width, targets=targets)]

    def _resolved(self, target: TargetSpec) -> TargetSpec:
        if target.kind != "mask":
            return target
        return replace(target, shape=(self.height, self.width, *target.shape[2:]))

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample, scaled and placed."""
        source = sample.image.height, sample.image.width
        place = self.placement(*source)
        image = self._put(sample.image, place, self.method, self._fill())
        step = _affine_of(place, *source)
        targets = {
            name: target._replace(array=self._moved(target, place, step))
            for name, target in sample.targets.items()
        }
        # The first step of nearly every recipe, for each picture: no product, no replace().
        affine = step if sample.affine is IDENTITY else compose(step, sample.affine)
        return [Sample(image, affine, targets, sample.seed, sample.row, sample.part)]

    def _fill(self) -> tuple[int, int, int]:
        return (0, 0, 0)

    def _put(
        self, image: Picture, place: Placement, method: Resampling, fill: tuple[int, int, int]
    ) -> Picture:
        if (place.tall, place.wide) == (self.height, self.width):
            return image.resized(self.height, self.width, method=method)
        if place.tall > self.height or place.wide > self.width:
            return self._cropped(image, place, method)
        inner = image.resized(place.tall, place.wide, method=method).array()
        canvas = np.empty((self.height, self.width, inner.shape[2]), inner.dtype)
        canvas[:] = _levels(fill, inner)
        canvas[place.top : place.top + place.tall, place.left : place.left + place.wide] = inner
        return Picture.from_array(canvas)

    def _cropped(self, image: Picture, place: Placement, method: Resampling) -> Picture:
        top, left = -place.top, -place.left
        if place.tall * place.wide <= _WHOLE * self.height * self.width:
            # Scale, then crop: the bits that torchvision and timm give for the same steps.
            whole = image.resized(place.tall, place.wide, method=method).array()
            return Picture.from_array(whole[top : top + self.height, left : left + self.width])
        # A picture 60,000 high and 3 wide would be gigabytes when scaled whole.
        down, across = image.height / place.tall, image.width / place.wide
        box = (
            left * across,
            top * down,
            (left + self.width) * across,
            (top + self.height) * down,
        )
        return image.resized(self.height, self.width, box=box, method=method)

    def _moved(self, target: Target, place: Placement, step: NDArray[np.float64]) -> NDArray[Any]:
        if target.kind == "mask":
            mask = Picture.from_array(target.array)
            return self._put(mask, place, "nearest", (0, 0, 0)).array()
        return apply_affine(step, target.array) if target.kind == "points" else target.array


_WHOLE = 16  # scaled pictures of up to so many times the output's area are scaled whole


@dataclass(frozen=True, slots=True)
class Resize(_Placed):
    """Scale to exactly ``height`` x ``width``; the aspect ratio is ignored."""

    height: int
    width: int
    method: Resampling = "bicubic"

    def __post_init__(self) -> None:
        """Refuse an empty output."""
        _check_placed(self)

    def placement(self, height: int, width: int) -> Placement:  # noqa: ARG002  any size fits
        """Return the output's own rectangle."""
        return Placement(self.height, self.width, 0, 0)


@dataclass(frozen=True, slots=True)
class CenterCrop(_Placed):
    """Scale so that the output is ``crop`` of the shorter side, then cut the centre.

    With the default ``crop`` of 224 / 256 and a size of 224, the shorter side becomes 256:
    what torchvision and timm do before evaluation.
    """

    height: int
    width: int
    crop: float = 224 / 256
    method: Resampling = "bicubic"

    def __post_init__(self) -> None:
        """Refuse an empty output, and a crop of more than there is."""
        _check_placed(self)
        if not 0 < self.crop <= 1:
            raise OptionError(f"crop must be over 0 and at most 1, got {self.crop}; try 0.875")

    def placement(self, height: int, width: int) -> Placement:
        """Return the scaled size and the centred offsets, rounded as torchvision does."""
        scale = max(self.height / height, self.width / width) / self.crop
        tall = max(self.height, _whole(height * scale))
        wide = max(self.width, _whole(width * scale))
        return Placement(
            tall, wide, -round((tall - self.height) / 2), -round((wide - self.width) / 2)
        )


@dataclass(frozen=True, slots=True)
class Fit(_Placed):
    """Scale so that the whole picture fits, centred; the rest of the canvas is ``fill``.

    ``enlarge=False`` leaves pictures that are smaller than the canvas at their own size.
    """

    height: int
    width: int
    fill: tuple[int, int, int] = (0, 0, 0)
    enlarge: bool = True
    method: Resampling = "bicubic"

    def __post_init__(self) -> None:
        """Refuse an empty output, and a colour that is none."""
        _check_placed(self)
        object.__setattr__(self, "fill", tuple(self.fill))  # a list, when read from TOML
        colour("fill", self.fill)

    def placement(self, height: int, width: int) -> Placement:
        """Return the largest rectangle of the source's shape inside the canvas."""
        scale = min(self.height / height, self.width / width)
        if not self.enlarge:
            scale = min(scale, 1.0)
        tall = min(self.height, max(1, round(height * scale)))
        wide = min(self.width, max(1, round(width * scale)))
        return Placement(tall, wide, (self.height - tall) // 2, (self.width - wide) // 2)

    def _fill(self) -> tuple[int, int, int]:
        return self.fill


def _whole(length: float) -> int:
    """Round down, but not because 256 came out as 255.9999999."""
    return int(length + 1e-6)


def _check_placed(step: Resize | CenterCrop | Fit) -> None:
    for name in ("height", "width"):
        whole(name, getattr(step, name), "try --size 64, or 64x48 for height x width")
    one_of("method", step.method, get_args(Resampling))


def _levels(fill: tuple[int, int, int], like: NDArray[Any]) -> NDArray[Any]:
    """Return the 8-bit colour ``fill`` in the channels and the scale of ``like``."""
    levels = np.array(fill, np.float64)
    if like.shape[2] == 1:
        levels = levels @ (0.299, 0.587, 0.114)  # ITU-R 601-2 luma, as Pillow's convert("L")
    elif like.shape[2] != 3:
        levels = np.full(like.shape[2], levels[0])
    if like.dtype == np.float32:
        return (levels / 255).astype(np.float32)
    return np.rint(levels * (257 if like.dtype == np.uint16 else 1)).astype(like.dtype)


def _affine_of(place: Placement, height: int, width: int) -> NDArray[np.float64]:
    across, down = place.wide / width, place.tall / height
    return np.array([[across, 0.0, place.left], [0.0, down, place.top]])


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
        specs = [made for spec in specs for made in step.resolve(spec)]
    return specs


def _check_carried(step: Transform, spec: Spec) -> None:
    carried: frozenset[TargetKind] = getattr(step, "carries", frozenset())
    for target in spec.targets:
        if target.kind != "values" and target.kind not in carried:
            raise PlanError(
                f"{type(step).__name__} has no rule for {target.name}, a target of kind "
                f"{target.kind}; give it one and say carries = frozenset({{{target.kind!r}}})"
            )
