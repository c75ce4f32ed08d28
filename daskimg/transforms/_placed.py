"""Transforms that scale a picture and place it in an output of one size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from daskimg.decode import Picture
from daskimg.errors import OptionError
from daskimg.options import Resampling, colour, one_of, whole
from daskimg.transforms._affine import IDENTITY, apply_affine, compose
from daskimg.transforms._protocol import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.transforms._protocol import Spec, Target, TargetKind, TargetSpec


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
    carries: ClassVar[frozenset[TargetKind]] = frozenset({"mask", "points", "joints"})

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
        return [at_size(spec, self.height, self.width)]

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
        # The first step of nearly every recipe, for each picture: no product.
        affine = step if sample.affine is IDENTITY else compose(step, sample.affine)
        # Not by replace(), which takes as long as all of the above but the picture.
        who = sample.seed, sample.row, sample.part
        return [Sample(image, affine, targets, *who, sample.cells, sample.mode)]

    def _fill(self) -> tuple[int, int, int]:
        return (0, 0, 0)

    def _put(
        self, image: Picture, place: Placement, method: Resampling, fill: tuple[int, ...] | int
    ) -> Picture:
        if (place.tall, place.wide) == (self.height, self.width):
            return image.resized(self.height, self.width, method=method)
        if place.tall > self.height or place.wide > self.width:
            return self._cropped(image, place, method)
        inner = image.resized(place.tall, place.wide, method=method).array()
        canvas = np.empty((self.height, self.width, inner.shape[2]), inner.dtype)
        canvas[:] = fill if isinstance(fill, int) else _levels(fill, inner)
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
            return self._put(mask, place, "nearest", target.fill).array()
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


def at_size(spec: Spec, height: int, width: int) -> Spec:
    """Return ``spec`` at another size, masks with it."""
    targets = tuple(_mask_at_size(target, height, width) for target in spec.targets)
    return replace(spec, height=height, width=width, targets=targets)


def _mask_at_size(target: TargetSpec, height: int, width: int) -> TargetSpec:
    if target.kind != "mask":
        return target
    return replace(target, shape=(height, width, *target.shape[2:]))


def _levels(fill: tuple[int, ...], like: NDArray[Any]) -> NDArray[Any]:
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
