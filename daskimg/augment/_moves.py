"""Where the pixels of samples come from, and what their colours become: drawn, not yet done."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.augment._draws import fractions
from daskimg.heatmaps import exponential

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.augment._draws import Moment, Who
    from daskimg.augment._options import Augment

    Windows = NDArray[np.int64]

_ATTEMPTS = 10  # at a part that fits, as torchvision has it

# Which of a sample's random numbers is for what.
_MIRROR, _TOP, _LEFT, _COLOURS, _MARGIN, _AREAS = 0, 1, 2, slice(3, 6), 6, 8
_FEW = 7


@dataclass(frozen=True)
class Moves:
    """What is done to each sample of a batch.

    Attributes
    ----------
    size
        (height, width) of what is made.
    windows : (sample, 4) int64
        Top, left, height and width of the part that is taken, inside the picture.
    mirrored : (sample,) bool
    colours : (sample, 3) float64 or None
        Factors of brightness, contrast and saturation, if they change.
    """

    size: tuple[int, int]
    windows: Windows
    mirrored: NDArray[np.bool_]
    colours: NDArray[np.float64] | None

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (sample, xy) scale and shift from a sample as stored to what is made of it."""
        top, left, tall, wide = self.windows.T
        across, down = self.size[1] / wide, self.size[0] / tall
        scale = np.stack([np.where(self.mirrored, -across, across), down], axis=1)
        shift = np.stack([left * -across, top * -down], axis=1)
        shift[self.mirrored, 0] = self.size[1] - shift[self.mirrored, 0]
        return scale, shift


def moves_of(
    augment: Augment,
    stored: tuple[int, int],
    who: Who,
    moment: Moment,
    boxes: NDArray[np.float64] | None,
) -> Moves:
    """Return what is done to samples in an epoch.

    Parameters
    ----------
    augment
        What may be done.
    stored
        (height, width) of pictures in the store.
    who, moment
        Whose draws, and when.
    boxes : (sample, 4) float64
        Left, top, right and bottom of the joints of each sample, NaN if there are none; for
        ``margin``.
    """
    height, width = augment.crop or stored
    size = height, width
    count = _AREAS + 2 * _ATTEMPTS if augment.scale is not None else _FEW
    draws = fractions(who, moment, count)
    if augment.scale is not None:
        windows = _parts(augment, stored, draws)
    elif augment.margin is not None and boxes is not None:
        low, high = augment.margin
        windows = _around(boxes, 1 + low + draws[:, _MARGIN] * (high - low), stored, size)
    else:
        tall, wide = (np.full(len(draws), length) for length in size)
        windows = _placed(augment, stored, tall, wide, draws)
    colours = _factors(augment, draws[:, _COLOURS]) if augment.colours else None
    return Moves(size, windows, draws[:, _MIRROR] < augment.mirror, colours)


def _placed(
    augment: Augment,
    stored: tuple[int, int],
    tall: NDArray[np.int64],
    wide: NDArray[np.int64],
    draws: NDArray[np.float64],
) -> Windows:
    """Return windows of given sizes, at random places or in the centre."""
    spare = stored[0] - tall, stored[1] - wide
    if augment.place == "center":
        top, left = spare[0] // 2, spare[1] // 2
    else:
        top, left = (
            (draws[:, which] * (room + 1)).astype(np.int64)
            for which, room in zip((_TOP, _LEFT), spare, strict=True)
        )
    return np.stack([top, left, tall, wide], axis=1)


def _parts(augment: Augment, stored: tuple[int, int], draws: NDArray[np.float64]) -> Windows:
    """Return windows of random area and shape: the first that fits of several attempts."""
    assert augment.scale is not None
    height, width = stored
    low, high = augment.scale
    areas = draws[:, _AREAS : _AREAS + _ATTEMPTS]
    shapes = draws[:, _AREAS + _ATTEMPTS : _AREAS + 2 * _ATTEMPTS]
    area = height * width * (low + areas * (high - low))
    first, last = map(log, augment.ratio)
    ratio = exponential(first + shapes * (last - first))
    tall = np.rint(np.sqrt(area / ratio)).astype(np.int64)
    wide = np.rint(np.sqrt(area * ratio)).astype(np.int64)
    fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
    chosen = fits.argmax(axis=1)[:, None]
    none: NDArray[np.bool_] = ~np.any(fits, axis=1)
    tall, wide = (np.take_along_axis(each, chosen, 1)[:, 0] for each in (tall, wide))
    tall[none], wide[none] = _largest(augment.ratio, stored)
    windows = _placed(augment, stored, tall, wide, draws)
    windows[none, 0] = (height - tall[none]) // 2
    windows[none, 1] = (width - wide[none]) // 2
    return windows


def _largest(ratio: tuple[float, float], stored: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the largest part whose ratio is in range."""
    height, width = stored
    shape = min(max(width / height, ratio[0]), ratio[1])
    return min(height, max(1, round(width / shape))), min(width, max(1, round(height * shape)))


def _around(
    boxes: NDArray[np.float64],
    times: NDArray[np.float64],
    stored: tuple[int, int],
    size: tuple[int, int],
) -> Windows:
    """Return windows around boxes, made larger and of the output's shape, cut at the edges."""
    height, width = stored
    whole = np.array([0.0, 0.0, width, height])
    left, top, right, bottom = np.where(np.isnan(boxes), whole, boxes).T
    shape = size[1] / size[0]
    tall, wide = times * np.maximum(bottom - top, 1), times * np.maximum(right - left, 1)
    tall, wide = np.maximum(tall, wide / shape), np.maximum(wide, tall * shape)
    x, y = (left + right) / 2, (top + bottom) / 2
    first, behind = _inside(y - tall / 2, y + tall / 2, height)
    begin, end = _inside(x - wide / 2, x + wide / 2, width)
    return np.stack([first, begin, behind - first, end - begin], axis=1)


def _inside(low: NDArray[Any], high: NDArray[Any], length: int) -> tuple[Windows, Windows]:
    """Return whole pixels between two places, at least one, inside the picture."""
    start = np.clip(np.floor(low), 0, length - 1).astype(np.int64)
    return start, np.clip(np.ceil(high).astype(np.int64), start + 1, length)


def _factors(augment: Augment, draws: NDArray[np.float64]) -> NDArray[np.float64]:
    strengths = np.array(augment.strengths)
    low = np.maximum(0.0, 1 - strengths)
    factors: NDArray[np.float64] = low + draws * (1 + strengths - low)
    return factors
