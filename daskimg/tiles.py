"""Tiles of one picture are put together again: the inverse of cutting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def join_tiles(
    image: NDArray[Any],
    affine: NDArray[Any],
    *,
    height: int,
    width: int,
    fill: float = 0,
) -> NDArray[Any]:
    """Return the picture that tiles were cut from.

    Where tiles overlap, the result is their mean: exact where they agree, else computed in
    float64 and, for whole numbers, rounded half to even. What lies outside the picture, such
    as padding, is left out, and so is the noise around the partial tiles of ``NoiseFrames``.
    Those are known by the places of all tiles together, so give all tiles of a picture.

    Parameters
    ----------
    image
        (part, tile_height, tile_width, channel), of any dtype that a store has.
    affine
        (part, 2, 3), from the picture to each tile: translations by whole pixels.
    height, width
        Of the picture, in pixels.
    fill
        Value of pixels that no tile covers.

    Returns
    -------
    (height, width, channel) array
        Of ``image``'s dtype.

    Raises
    ------
    OptionError
        If the shapes do not fit, or a tile was scaled, turned or shifted by half a pixel.
    """
    tops, lefts = _corners(image, affine)
    down = _Axis(tops, image.shape[1], height)
    across = _Axis(lefts, image.shape[2], width)
    out = np.full((height, width, image.shape[3]), fill, image.dtype)
    for start in range(0, height, image.shape[1]):
        band = out[start : start + image.shape[1]]
        tiles = np.flatnonzero((down.stops > start) & (down.starts < start + len(band)))
        _join_band(band, start, [(image[i], down.span(i), across.span(i)) for i in tiles.tolist()])
    return out


class _Axis:
    """Where each tile begins (may be outside) and which pixels of the picture it shows."""

    def __init__(self, corners: NDArray[np.int64], tile: int, length: int) -> None:
        self.corners = corners
        self.starts = np.maximum(corners, 0)
        self.stops = np.minimum(corners + tile, length)
        rest = length % tile
        margin = (tile - rest) // 2
        whole = length - rest
        # Of tiles in noise, the last is centred: its corner lies among its neighbour's pixels.
        centred = {*range(0, whole, tile), whole - margin}
        if rest and margin and centred == set(corners.tolist()):
            self.starts[corners == whole - margin] = whole

    def span(self, i: int) -> tuple[int, int, int]:
        """Return the corner of tile ``i``, and the first and last + 1 pixel that it shows."""
        return int(self.corners[i]), int(self.starts[i]), int(self.stops[i])


_Span = tuple[int, int, int]


def _join_band(
    band: NDArray[Any], first: int, tiles: list[tuple[NDArray[Any], _Span, _Span]]
) -> None:
    """Fill the rows of a picture from ``first`` on: sums are kept for a few rows at a time."""
    sums = np.zeros(band.shape, np.float64)
    counts = np.zeros(band.shape[:2], np.int64)
    for tile, (top, start, stop), (left, begin, end) in tiles:
        start, stop = max(start, first), min(stop, first + len(band))
        if start < stop and begin < end:
            here = slice(start - first, stop - first), slice(begin, end)
            sums[here] += tile[start - top : stop - top, begin - left : end - left]
            counts[here] += 1
    covered = counts > 0
    mean = sums[covered] / counts[covered][:, None]
    band[covered] = mean if band.dtype.kind == "f" else np.rint(mean)


def _corners(
    image: NDArray[Any], affine: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row and the column of the picture at which each tile begins."""
    if image.ndim != 4 or affine.shape != (len(image), 2, 3):
        raise OptionError(
            f"tiles are (part, height, width, channel) with affines of (part, 2, 3), got shapes "
            f"{image.shape} and {affine.shape}; select both by the row's samples"
        )
    shift = affine[:, :, 2]
    if not (affine[:, :, :2] == np.eye(2)).all() or not (shift == np.rint(shift)).all():
        raise OptionError(
            "tiles must be moved by whole pixels only, and these were scaled or turned; join "
            "them where nothing but tiles or noise-frames was done to them"
        )
    corners = -shift.astype(np.int64)
    return corners[:, 1], corners[:, 0]
