"""Transforms that change levels and move nothing; all work on 8-bit pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from daskimg.decode import autocontrast, enhance, equalize, grey
from daskimg.errors import OptionError
from daskimg.transforms._moves import ALL_KINDS, need_bytes
from daskimg.transforms._streams import STREAMS

if TYPE_CHECKING:
    from daskimg.decode import Picture
    from daskimg.transforms._protocol import Sample, Spec, TargetKind

_WHY = "its levels are those of 8 bits"


@dataclass(frozen=True, slots=True)
class Grayscale:
    """Make the picture grey, in one channel or in three equal ones.

    The luma of ITU-R 601-2, bit for bit as Pillow's ``convert("L")``.
    """

    channels: int = 3

    carries: ClassVar[frozenset[TargetKind]] = ALL_KINDS

    def __post_init__(self) -> None:
        """Refuse a number of channels that no picture has."""
        if self.channels not in (1, 3):
            raise OptionError(f"channels must be 1 or 3, got {self.channels!r}; try 1")

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec`` with its number of channels."""
        _check(self, spec)
        return [replace(spec, channels=self.channels)]

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample in grey."""
        return [replace(sample, image=grey(sample.image, self.channels))]


class _Recoloured:
    """What the transforms of levels share: a spec is as it was."""

    __slots__ = ()
    carries: ClassVar[frozenset[TargetKind]] = ALL_KINDS

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec``; refuse more than 8 bits."""
        _check(self, spec)
        return [spec]


@dataclass(frozen=True, slots=True)
class Autocontrast(_Recoloured):
    """Stretch each channel to 0..255, bit for bit as Pillow's ``ImageOps.autocontrast``.

    Attributes
    ----------
    cutoff
        Percent of the pixels to leave out at either end of each channel's histogram.
    """

    cutoff: float = 0

    def __post_init__(self) -> None:
        """Refuse to cut off everything."""
        given: object = self.cutoff
        if not isinstance(given, int | float) or not 0 <= given < 50:
            raise OptionError(f"cutoff is a percentage of 0 to below 50, got {given!r}; try 1")

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample stretched."""
        return [replace(sample, image=autocontrast(sample.image, self.cutoff))]


@dataclass(frozen=True, slots=True)
class Equalize(_Recoloured):
    """Even out each channel's histogram, bit for bit as Pillow's ``ImageOps.equalize``."""

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample equalised."""
        return [replace(sample, image=equalize(sample.image))]


@dataclass(frozen=True, slots=True)
class PhotometricJitter(_Recoloured):
    """Change brightness, contrast and saturation at random, drawn by (seed, row, part).

    A strength of ``s`` draws its factor evenly from max(0, 1 - s) to 1 + s, as torchvision's
    ``ColorJitter``; the three factors are drawn, and used, in this order. Each is a blend by
    Pillow's ``ImageEnhance``: other + factor * (picture - other), with black, the grey of the
    mean luma, and the picture's own luma for ``other``. After each the levels are cut to
    whole numbers (towards 0) within 0..255.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4

    def __post_init__(self) -> None:
        """Refuse strengths that are none."""
        for name in ("brightness", "contrast", "saturation"):
            given: object = getattr(self, name)
            if not isinstance(given, int | float) or not 0 <= given < float("inf"):
                raise OptionError(f"{name} must be a number of at least 0, got {given!r}; try 0.4")

    def factors(self, sample: Sample) -> tuple[float, float, float]:
        """Return the factors of a sample: brightness, contrast, saturation."""
        draws = sample.rng(STREAMS["photometric-jitter"]).random(3)
        strengths = self.brightness, self.contrast, self.saturation
        lows = [max(0.0, 1 - strength) for strength in strengths]
        spans = [1 + strength - low for strength, low in zip(strengths, lows, strict=True)]
        brightness, contrast, saturation = (lows + draws * spans).tolist()
        return brightness, contrast, saturation

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample in other light."""
        image: Picture = enhance(sample.image, *self.factors(sample))
        return [replace(sample, image=image)]


def _check(step: object, spec: Spec) -> None:
    name = type(step).__name__
    need_bytes(name, spec, _WHY)
    if spec.channels not in (1, 3):
        raise OptionError(f"{name} needs 1 or 3 channels, got {spec.channels}")
