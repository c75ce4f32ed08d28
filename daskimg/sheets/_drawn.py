"""A sample as a small picture: masks and joints drawn over it, heatmaps beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskimg.decode import Panel, draw_points, scaled_down

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Colours = NDArray[np.uint8]

_GOLDEN = 0.618033988749895  # of a turn: hues of neighbours are far apart, however many
_TINY = 1e-30  # what a range of levels is divided by, at least


class Drawing(NamedTuple):
    """What is drawn of a sample.

    Attributes
    ----------
    image
        (height, width, channel), of any dtype.
    masks
        (height, width, channel) each, drawn over the picture.
    points, visible
        (joint, xy) in pixels, and (joint,) bool: discs, and rings where it is false.
    heat
        By name, (height, width, joint): each a picture of its own, beside this one.
    """

    image: NDArray[Any]
    masks: tuple[NDArray[Any], ...] = ()
    points: tuple[tuple[NDArray[Any], NDArray[np.bool_]], ...] = ()
    heat: tuple[tuple[str, NDArray[Any]], ...] = ()


def drawn(drawing: Drawing, cell: int, name: str) -> Iterator[Panel]:
    """Yield a sample's panels, each at most ``cell`` pixels high and wide."""
    height, width = drawing.image.shape[:2]
    size = fitted(height, width, cell)
    plain = _at_size(rgb_of(drawing.image), size)
    panel = plain
    for mask in drawing.masks:
        panel = _with_mask(panel, mask)
    scale = size.width / width, size.height / height
    for points, visible in drawing.points:
        colours = hues(np.arange(len(points)))
        panel = draw_points(panel, points * scale, visible, colours)
    yield Panel(panel, joined(name, size.scale))
    for array, heat in drawing.heat:
        yield Panel(_with_heat(plain, heat), joined(name, array))


class Size(NamedTuple):
    """Of a panel, in pixels; and how it came about."""

    height: int
    width: int
    scale: str


def fitted(height: int, width: int, cell: int) -> Size:
    """Return the size at which a picture fits a cell; larger by whole numbers only."""
    longest = max(height, width)
    if longest > cell:
        tall, wide = (max(1, round(side * cell / longest)) for side in (height, width))
        return Size(tall, wide, f"at {100 * cell / longest:.3g} %")
    times = cell // longest
    return Size(times * height, times * width, f"{times} times" if times > 1 else "")


def joined(*parts: str) -> str:
    """Return the parts there are, of a caption."""
    return ", ".join(filter(None, parts))


def rgb_of(image: NDArray[Any]) -> Colours:
    """Return (height, width, 3) uint8 of a picture of any dtype and channels.

    16 bits keep their upper half. Numbers outside 0..1 are spread from their least to their
    greatest. Of channels other than 1 and 3, the first three are taken, or the first.
    """
    channels = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, :1]
    return np.broadcast_to(_bytes(channels), (*image.shape[:2], 3))


def _bytes(levels: NDArray[Any]) -> Colours:
    if levels.dtype == np.uint8:
        return levels
    if levels.dtype == np.uint16:
        return (levels >> 8).astype(np.uint8)
    there = np.nan_to_num(levels.astype(np.float32), posinf=0, neginf=0)
    least, greatest = float(there.min()), float(there.max())
    if least < 0 or greatest > 1:
        there = (there - least) / max(greatest - least, _TINY)
    return np.rint(255 * there).astype(np.uint8)


def _at_size(image: Colours, size: Size) -> Colours:
    if size.height < image.shape[0] or size.width < image.shape[1]:
        return scaled_down(np.ascontiguousarray(image), size.height, size.width)
    return _nearest(image, size.height, size.width)


def _nearest(array: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return an array at another size, each pixel the one that its centre lies in."""
    rows = (2 * np.arange(height) + 1) * array.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * array.shape[1] // (2 * width)
    return np.asarray(array[rows[:, None], columns])


def _with_mask(panel: Colours, mask: NDArray[Any]) -> Colours:
    mask = _nearest(mask, *panel.shape[:2])
    mixed = (panel.astype(np.uint16) + mask_colours(mask) + 1) // 2
    return np.where(mask.any(axis=2, keepdims=True), mixed, panel).astype(np.uint8)


def mask_colours(mask: NDArray[Any]) -> Colours:
    """Return (height, width, 3) uint8: a colour for each value, or a colour mask's own.

    White is the greatest value of the dtype, by custom that of pixels to be left out.
    """
    if mask.shape[2] == 3:
        return _bytes(mask)
    values, places = np.unique(mask[:, :, 0], return_inverse=True)
    colours = hues(values)
    if mask.dtype.kind in "iu":
        colours[values == np.iinfo(mask.dtype).max] = 255
    return np.asarray(colours[places.reshape(mask.shape[:2])])


def hues(numbers: NDArray[Any]) -> Colours:
    """Return (number, 3) uint8: a strong colour for each number, always the same one.

    After 13 of them hues come close to earlier ones, and are darker.
    """
    found = np.asarray(numbers, np.float64)[:, None]
    away = np.abs((6 * _GOLDEN * found + (3, 1, 5)) % 6 - 3)  # of red, green, blue: 0..3
    strength = np.where(found // 13 % 2, 0.6, 1.0)
    return np.asarray(np.rint(255 * strength * np.clip(away - 1, 0, 1)), np.uint8)


def _with_heat(panel: Colours, heatmap: NDArray[Any]) -> Colours:
    """Return a panel, dimmed and grey, on which the greatest of all joints glows."""
    heat = heatmap.max(axis=2, initial=0)
    heat = np.clip(_nearest(heat[:, :, None], *panel.shape[:2]), 0, 1)
    dim = panel.mean(axis=2, keepdims=True) * 0.6
    glow = np.clip(3 * heat - (0, 1, 2), 0, 1) * 255  # from black by red and yellow to white
    return np.asarray(np.rint(dim * (1 - heat) + glow * heat), np.uint8)
