"""Transforms that cut a picture into tiles of one size, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from daskimg.decode import Picture
from daskimg.errors import OptionError
from daskimg.options import colour, one_of, whole
from daskimg.transforms._grid import Cut, Edge, count_cuts, whole_cuts
from daskimg.transforms._moves import FOLLOWING, moved, sized, translation
from daskimg.transforms._placed import _levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.transforms._protocol import Sample, Spec, TargetKind


@dataclass(frozen=True, slots=True)
class Tiles:
    """Cut the picture into tiles of ``height`` x ``width``, row by row; parts count them.

    A tile that lies whole in its picture is a view of it: cutting copies no pixels.

    Attributes
    ----------
    height, width
        Of each tile, in pixels.
    stride
        From one tile to the next: pixels, or (down, across). ``None``: the tile's own size.
    edge
        What becomes of the rest at the right and the bottom. ``drop``: there are whole tiles
        only, so floor(h / height) x floor(w / width) of them when there is no stride, and
        none of a smaller picture. ``pad``: the last tiles are filled up with ``fill``.
        ``shift``: one more tile ends at the picture's edge, overlapping its neighbour; a
        smaller picture gives none.
    fill
        Colour of the padding, R, G, B of 0..255. A mask has its own.
    """

    height: int
    width: int
    stride: int | tuple[int, int] | None = None
    edge: Edge = "drop"
    fill: tuple[int, int, int] = (0, 0, 0)

    by_size: ClassVar[bool] = True
    carries: ClassVar[frozenset[TargetKind]] = FOLLOWING

    def __post_init__(self) -> None:
        """Refuse empty tiles, and tiles that do not advance."""
        check_size(self.height, self.width)
        _check_stride(self.stride)
        one_of("edge", self.edge, get_args(Edge))
        object.__setattr__(self, "fill", tuple(self.fill))
        colour("fill", self.fill)

    def resolve(self, spec: Spec) -> list[Spec]:
        """Return the spec of each tile, or of one where the picture's size is not known."""
        tile = sized(spec, self.height, self.width)
        if spec.height is None or spec.width is None:
            return [tile]
        down, across = self._strides()
        rows = count_cuts(spec.height, self.height, down, self.edge)
        return [tile] * (rows * count_cuts(spec.width, self.width, across, self.edge))

    def __call__(self, sample: Sample) -> list[Sample]:
        """Return the tiles, row by row."""
        down, across = self._strides()
        rows = whole_cuts(sample.image.height, self.height, down, self.edge)
        columns = whole_cuts(sample.image.width, self.width, across, self.edge)
        return [self._tile(sample, row, column) for row in rows for column in columns]

    def _strides(self) -> tuple[int, int]:
        if self.stride is None:
            return self.height, self.width
        return self.stride if isinstance(self.stride, tuple) else (self.stride, self.stride)

    def _tile(self, sample: Sample, row: Cut, column: Cut) -> Sample:
        image = sample.image.window(row.start, column.start, row.length, column.length)
        if (row.length, column.length) != (self.height, self.width):
            canvas = np.empty((self.height, self.width, image.channels), image.dtype)
            canvas[:] = _levels(self.fill, canvas)
            image.write(canvas[: row.length, : column.length])
            image = Picture.from_array(canvas)

        def cut(mask: NDArray[Any], fill: int) -> NDArray[Any]:
            return cut_mask(mask, row, column, (self.height, self.width), fill)

        return moved(sample, image, translation(-column.start, -row.start), cut)


def cut_mask(
    mask: NDArray[Any], row: Cut, column: Cut, size: tuple[int, int], fill: int
) -> NDArray[Any]:
    """Return a tile of a (height, width, channel) mask: a view if it is whole, else filled up."""
    part = mask[row.start : row.start + row.length, column.start : column.start + column.length]
    if (row.length, column.length) == size:
        return part
    canvas = np.full((*size, mask.shape[2]), fill, mask.dtype)
    rows = slice(row.offset, row.offset + row.length)
    canvas[rows, column.offset : column.offset + column.length] = part
    return canvas


def _check_stride(stride: object) -> None:
    if stride is None:
        return
    if isinstance(stride, tuple) and len(stride) != 2:
        raise OptionError(f"stride must be pixels or (down, across), got {stride}; try 64")
    for pixels in stride if isinstance(stride, tuple) else (stride,):
        whole("stride", pixels, "try 64, or leave it out")


def check_size(height: object, width: object) -> None:
    """Refuse an empty output."""
    for name, value in (("height", height), ("width", width)):
        whole(name, value, "try --size 128, or 128x96 for height x width")
