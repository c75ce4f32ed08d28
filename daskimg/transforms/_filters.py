"""Transforms that drop pictures by what their headers say; what they keep is not changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from daskimg.errors import OptionError
from daskimg.options import whole
from daskimg.transforms._moves import ALL_KINDS

if TYPE_CHECKING:
    from daskimg.transforms._protocol import Sample, Spec, TargetKind

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Modes of pictures without colour, as Pillow calls them. A palette (``P``) may hold any."""


@dataclass(frozen=True, slots=True)
class MinSize:
    """Drop pictures that are lower than ``height`` or narrower than ``width``, in pixels."""

    height: int
    width: int

    by_size: ClassVar[bool] = True
    carries: ClassVar[frozenset[TargetKind]] = ALL_KINDS

    def __post_init__(self) -> None:
        """Refuse sizes that no picture has."""
        for name in ("height", "width"):
            whole(name, getattr(self, name), "try 64")

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return the spec, unless its size is known to be too small."""
        if spec.height is None or spec.width is None:
            return [spec]
        return [spec] if self._keeps(spec.height, spec.width) else []

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample, or nothing."""
        return [sample] if self._keeps(sample.image.height, sample.image.width) else []

    def _keeps(self, height: int, width: int) -> bool:
        return height >= self.height and width >= self.width


@dataclass(frozen=True, slots=True)
class Modes:
    """Drop pictures by the mode of their files, as Pillow calls it: grey ones by default.

    Attributes
    ----------
    keep
        The only modes that pass; empty: all but those in ``drop``.
    drop
        Modes that do not.
    """

    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = GREY_MODES

    by_size: ClassVar[bool] = True
    by_mode: ClassVar[bool] = True
    carries: ClassVar[frozenset[TargetKind]] = ALL_KINDS

    def __post_init__(self) -> None:
        """Refuse a mode that is both kept and dropped, and a filter that lets all pass."""
        for name in ("keep", "drop"):
            modes: object = getattr(self, name)
            if isinstance(modes, list | tuple) and all(isinstance(mode, str) for mode in modes):
                object.__setattr__(self, name, tuple(modes))
            else:
                raise OptionError(f"{name} must be a list of modes, got {modes!r}; try ['RGB']")
        both = sorted(set(self.keep) & set(self.drop))
        if both:
            raise OptionError(f"modes {both} are kept and dropped; give drop = [] to keep them")
        if not self.keep and not self.drop:
            raise OptionError(
                "keep and drop are both empty, so no mode is dropped; leave modes out"
            )

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return the spec, unless its mode is known and dropped."""
        return [spec] if self._keeps(spec.mode) else []

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample, or nothing."""
        return [sample] if self._keeps(sample.mode) else []

    def _keeps(self, mode: str | None) -> bool:
        if not mode:  # not known yet
            return True
        return mode not in self.drop and (not self.keep or mode in self.keep)
