"""Transforms that set pictures in frames of Gaussian noise.

The noise depends on (seed, row, part) only: see ``daskimg.noise`` and ``STREAMS``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from daskimg.decode import Picture
from daskimg.noise import gaussian_noise, quantile_table
from daskimg.transforms._grid import Cut, centred_cuts
from daskimg.transforms._moves import FOLLOWING, moved, need_bytes, sized, translation
from daskimg.transforms._placed import Fit
from daskimg.transforms._streams import STREAMS, part_within
from daskimg.transforms._tiles import check_size, cut_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.options import Resampling
    from daskimg.transforms._protocol import Sample, Spec, TargetKind

_WHY = "the noise has 8 bits"


@dataclass(frozen=True, slots=True)
class NoiseFrames:
    """Cut the picture into ceil(h / height) x ceil(w / width) tiles, row by row.

    What is smaller than a tile in an axis (the rest at the right or the bottom, or a small
    picture) is centred in that axis on a canvas of noise.

    Attributes
    ----------
    height, width
        Of each tile, in pixels.
    mean, std
        Of the noise, in levels of 0..255, before it is rounded and clipped.
    """

    height: int
    width: int
    mean: float = 127.0
    std: float = 100.0

    by_size: ClassVar[bool] = True
    carries: ClassVar[frozenset[TargetKind]] = FOLLOWING

    def __post_init__(self) -> None:
        """Refuse empty tiles, and noise that is none."""
        check_size(self.height, self.width)
        quantile_table(self.mean, self.std)

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return the spec of each tile, or of one where the picture's size is not known."""
        need_bytes("noise-frames", spec, _WHY)
        tile = sized(spec, self.height, self.width)
        if spec.height is None or spec.width is None:
            return [tile]
        return [tile] * (-(-spec.height // self.height) * -(-spec.width // self.width))

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the tiles, row by row; a tile's noise depends on its number among them."""
        rows = centred_cuts(sample.image.height, self.height)
        columns = centred_cuts(sample.image.width, self.width)
        cuts = [(row, column) for row in rows for column in columns]
        return [self._tile(sample, i, row, column) for i, (row, column) in enumerate(cuts)]

    def _tile(self, sample: Sample, index: int, row: Cut, column: Cut) -> Sample:
        image = sample.image.window(row.start, column.start, row.length, column.length)
        if (row.length, column.length) != (self.height, self.width):
            numbered = replace(sample, part=part_within(sample.part, index))
            canvas = _noise((self.height, self.width), numbered, "noise-frames", self)
            rows = slice(row.offset, row.offset + row.length)
            image.write(canvas[rows, column.offset : column.offset + column.length])
            image = Picture.from_array(canvas)

        def cut(mask: NDArray[Any], fill: int) -> NDArray[Any]:
            return cut_mask(mask, row, column, (self.height, self.width), fill)

        step = translation(column.offset - column.start, row.offset - row.start)
        return moved(sample, image, step, cut)


@dataclass(frozen=True, slots=True)
class NoiseFit:
    """Scale so that the whole picture fits, centred; the rest of the canvas is noise.

    As ``Fit``, with noise for its colour. ``enlarge=False`` leaves pictures that are smaller
    than the canvas at their own size. ``mean`` and ``std`` are as in ``NoiseFrames``.
    """

    height: int
    width: int
    mean: float = 127.0
    std: float = 100.0
    enlarge: bool = False
    method: Resampling = "bicubic"

    carries: ClassVar[frozenset[TargetKind]] = Fit.carries

    def __post_init__(self) -> None:
        """Refuse an empty output, and noise that is none."""
        self._fit()
        quantile_table(self.mean, self.std)

    def least(self, height: int, width: int) -> tuple[int, int]:
        """Return the fewest pixels of the source that the output needs."""
        return self._fit().least(height, width)

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec`` at the canvas's size, masks with it."""
        need_bytes("noise-fit", spec, _WHY)
        return self._fit().resolve(spec)

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the sample, scaled and framed."""
        place = self._fit().placement(sample.image.height, sample.image.width)
        (made,) = self._fit()(sample)
        if (place.tall, place.wide) == (self.height, self.width):
            return [made]
        canvas = _noise((self.height, self.width), sample, "noise-fit", self)
        rows = slice(place.top, place.top + place.tall)
        inner = made.image.window(place.top, place.left, place.tall, place.wide)
        inner.write(canvas[rows, place.left : place.left + place.wide])
        return [replace(made, image=Picture.from_array(canvas))]

    def _fit(self) -> Fit:
        return Fit(self.height, self.width, enlarge=self.enlarge, method=self.method)


def _noise(
    size: tuple[int, int], sample: Sample, stream: str, step: NoiseFrames | NoiseFit
) -> NDArray[np.uint8]:
    """Return (height, width, channel) of noise."""
    canvas = np.empty((*size, sample.image.channels), np.uint8)
    gaussian_noise(
        canvas,
        seed=sample.seed,
        row=sample.row,
        part=sample.part,
        stream=STREAMS[stream],
        mean=step.mean,
        std=step.std,
    )
    return canvas
