"""A crop of random place, size and shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from daskimg.decode import Picture
from daskimg.errors import OptionError
from daskimg.options import Resampling, one_of
from daskimg.transforms._moves import FOLLOWING, moved, sized
from daskimg.transforms._streams import STREAMS
from daskimg.transforms._tiles import check_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.transforms._protocol import Sample, Spec, TargetKind

    Window = tuple[int, int, int, int]

_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """Cut out a part of random area and shape, and scale it; drawn by (seed, row, part).

    As torchvision's ``RandomResizedCrop`` (the crop of Szegedy et al., CVPR 2015,
    doi:10.1109/CVPR.2015.7298594): with an area ``a`` drawn evenly from ``scale`` times the
    picture's, and a ratio ``r`` of width to height whose logarithm is drawn evenly between
    those of ``ratio``, the part is round(sqrt(a / r)) high and round(sqrt(a * r)) wide, at
    an even place. If ten draws do not fit, it is the largest part in the centre whose ratio is
    in range. The draws themselves are other ones than torchvision's.

    Attributes
    ----------
    height, width
        Of the output, in pixels.
    scale
        Least and greatest share of the picture's area.
    ratio
        Least and greatest ratio of width to height.
    method
        How the part is scaled.
    """

    height: int
    width: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    method: Resampling = "bicubic"

    carries: ClassVar[frozenset[TargetKind]] = FOLLOWING

    def __post_init__(self) -> None:
        """Refuse an empty output, and ranges that fall."""
        check_size(self.height, self.width)
        one_of("method", self.method, get_args(Resampling))
        for name, most, advice in (
            ("scale", 1.0, "[0.08, 1.0]"),
            ("ratio", np.inf, "[0.75, 1.33]"),
        ):
            given: object = getattr(self, name)
            object.__setattr__(self, name, _range(name, given, most, advice))

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return ``spec`` at the output's size, masks with it."""
        return [sized(spec, self.height, self.width)]

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the part, scaled."""
        window = self.window(sample)
        top, left, tall, wide = window
        down, across = self.height / tall, self.width / wide
        step = np.array([[across, 0.0, -left * across], [0.0, down, -top * down]])

        def cut(mask: NDArray[Any], _fill: int) -> NDArray[Any]:
            return self._scaled(Picture.from_array(mask), window, "nearest").array()

        return [moved(sample, self._scaled(sample.image, window, self.method), step, cut)]

    def window(self, sample: Sample) -> Window:
        """Return the part of a sample: top, left, height, width."""
        height, width = sample.image.height, sample.image.width
        rng = sample.rng(STREAMS["random-crop"])
        for _ in range(_ATTEMPTS):
            area = height * width * rng.uniform(*self.scale)
            ratio = exp(rng.uniform(log(self.ratio[0]), log(self.ratio[1])))
            tall, wide = round(sqrt(area / ratio)), round(sqrt(area * ratio))
            if 0 < tall <= height and 0 < wide <= width:
                top = int(rng.integers(height - tall + 1))
                return top, int(rng.integers(width - wide + 1)), tall, wide
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        tall = min(height, max(1, round(width / ratio)))
        wide = min(width, max(1, round(height * ratio)))
        return (height - tall) // 2, (width - wide) // 2, tall, wide

    def _scaled(self, image: Picture, window: Window, method: Resampling) -> Picture:
        # Cut and then scale: by a box, Pillow would look at pixels beyond the part's edges.
        return image.window(*window).resized(self.height, self.width, method=method)


def _range(name: str, given: Any, most: float, advice: str) -> tuple[float, float]:
    pair = tuple(given) if isinstance(given, list | tuple) else ()
    numbers = len(pair) == 2 and all(isinstance(value, int | float) for value in pair)
    if not numbers or not 0 < pair[0] <= pair[1] <= most or pair[1] == np.inf:
        limit = f", at most {most:g}" if most < np.inf else ""
        raise OptionError(
            f"{name} must rise from above 0{limit}, got {given!r}; try {name} = {advice}"
        )
    return pair[0], pair[1]
