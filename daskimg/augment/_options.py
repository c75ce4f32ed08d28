"""What is changed as samples are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from daskimg.errors import OptionError
from daskimg.options import one_of, whole

Place = Literal["random", "center"]

_STRONGEST = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """Changes to each sample as it is read, in this order: cut, scale, mirror, colours.

    Masks, joints and ``affine`` move along, if they are among the targets that are read.

    Attributes
    ----------
    crop
        (height, width) of what is handed over; as stored, if not given. Without ``scale`` and
        ``margin``, a part of this size.
    place
        ``random``, or ``center``: where a part lies that is smaller than the picture.
    scale
        Least and greatest share of the picture's area: a part of random area and shape is
        scaled to ``crop``, as torchvision's RandomResizedCrop (doi:10.1109/CVPR.2015.7298594).
    ratio
        Least and greatest ratio of its width to its height.
    margin
        Least and greatest margin: the box of the visible joints, with that much of its height
        and width added, extended to the shape of ``crop``, cut at the picture's edges and
        scaled. A picture without a visible joint is taken whole.
    mirror
        The chance of each sample to be mirrored left to right.
    pairs
        Joints that change places when mirrored, as ``daskimg.transforms.MPII_PAIRS``.
    brightness, contrast, saturation
        How far each factor may be from 1, drawn evenly; at most 3. Of a factor of 1.4 all
        levels are 1.4 times as bright, or as far from the picture's mean grey, or from the
        pixel's own grey; rounded and clipped once.
    heatmap
        (height, width) of heatmaps to draw from the joints, after all else: the target
        ``heatmap``. See ``daskimg.draw_heatmaps``.
    sigma
        Of the heatmaps, in their pixels.
    """

    crop: tuple[int, int] | None = None
    place: Place = "random"
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    margin: tuple[float, float] | None = None
    mirror: float = 0.0
    pairs: tuple[tuple[int, int], ...] = ()
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    heatmap: tuple[int, int] | None = None
    sigma: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what cannot be done to any sample."""
        one_of("place", self.place, get_args(Place))
        for name in ("crop", "heatmap"):
            if getattr(self, name) is not None:
                _size(name, getattr(self, name))
        if self.scale is not None:
            _rising("scale", self.scale, 0.0, 1.0, "(0.08, 1.0)")
        _rising("ratio", self.ratio, 0.0, np.inf, "(0.75, 1.33)")
        if self.margin is not None:
            _rising("margin", self.margin, -1.0, np.inf, "(0.1, 0.4)")
        if self.scale is not None and self.margin is not None:
            raise OptionError("scale and margin both choose a part; leave one of them out")
        _number("mirror", self.mirror, 1.0, 0.5)
        for name in ("brightness", "contrast", "saturation"):
            _number(name, getattr(self, name), _STRONGEST, 0.4)
        if not 0.01 <= self.sigma < np.inf:
            raise OptionError(f"sigma must be at least 0.01 pixels, got {self.sigma}; try 2")
        _check_pairs(self.pairs)

    @property
    def scales(self) -> bool:
        """Whether a part is made larger or smaller, so that levels are mixed."""
        return self.scale is not None or self.margin is not None

    @property
    def moves(self) -> bool:
        """Whether pixels come to lie elsewhere."""
        return self.crop is not None or self.scales or self.mirror > 0

    @property
    def strengths(self) -> tuple[float, float, float]:
        """Of brightness, contrast and saturation."""
        return self.brightness, self.contrast, self.saturation

    @property
    def colours(self) -> bool:
        """Whether levels change."""
        return max(self.strengths) > 0


def _size(name: str, given: Any) -> None:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise OptionError(f"{name} must be (height, width), got {given!r}; try (64, 64)")
    for number in given:
        whole(name, number, "try (64, 64)")


def _rising(name: str, given: Any, least: float, most: float, advice: str) -> None:
    pair = tuple(given) if isinstance(given, tuple | list) else ()
    numbers = len(pair) == 2 and all(isinstance(each, int | float) for each in pair)
    if not numbers or not least < pair[0] <= pair[1] <= most or pair[1] == np.inf:
        limit = f", at most {most:g}" if most < np.inf else ""
        raise OptionError(
            f"{name} must be two numbers over {least:g}{limit} that do not fall, got {given!r}; "
            f"try {advice}"
        )


def _number(name: str, given: Any, most: float, example: float) -> None:
    if not isinstance(given, int | float) or not 0 <= given <= most:
        raise OptionError(
            f"{name} must be a number of 0 to {most:g}, got {given!r}; try {example:g}"
        )


def _check_pairs(pairs: Any) -> None:
    given = pairs if isinstance(pairs, tuple | list) else [pairs]
    each = [tuple(pair) if isinstance(pair, tuple | list) else () for pair in given]
    joints = [joint for pair in each for joint in pair]
    whole_numbers = all(isinstance(joint, int) and joint >= 0 for joint in joints)
    twos = all(len(pair) == 2 for pair in each)
    if not twos or not whole_numbers or len(set(joints)) < len(joints):
        raise OptionError(
            f"pairs must be pairs of joints, numbered from 0, each once, got {pairs!r}; "
            "try ((0, 5), (1, 4))"
        )
