"""What a recipe says of the targets that come from the manifest: its columns, or files of masks.

Pure data, like the recipe. A declaration has three parts::

    columns                 the manifest's columns that it reads
    specs()                 the arrays it makes, known before anything is read
    read(...)               a sample's own entries of these arrays

Keypoints stand in the table itself; of a mask the table holds the path, and whoever fetches
the file hands its bytes over. ``finished`` turns an entry into what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from daskimg.cells import numbers
from daskimg.decode import decode_mask
from daskimg.errors import OptionError, SampleError
from daskimg.options import MAX_PIXELS, one_of, whole
from daskimg.transforms import Target, TargetSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MISSING = -1.0
"""Both coordinates of a joint that was not annotated, in the manifest and in the store."""

MaskType = Literal["uint8", "uint16"]


@dataclass(frozen=True, slots=True)
class Keypoints:
    """The joints of one person, as MPII's JSON has them.

    A joint at [-1, -1], or without coordinates, is missing: NaN while it is in a recipe, so
    that no geometry can move it to where a joint might be, and -1 again in the store.

    Attributes
    ----------
    points
        The column of (x, y) of each joint, in pixels of the upright picture.
    visible
        The column of visibilities, whole numbers of 0 to 255; a missing joint has 0. A joint
        with 0 may have a place: it is hidden, and moves with the others.
    count
        How many joints a person has.
    """

    points: str = "joints"
    visible: str = "joints_vis"
    count: int = 16

    def __post_init__(self) -> None:
        """Refuse a person without joints."""
        whole("count", self.count, "MPII has 16, COCO 17")

    @property
    def columns(self) -> tuple[str, ...]:
        """The manifest's columns whose cells ``read`` needs."""
        return self.points, self.visible

    def specs(self) -> tuple[TargetSpec, ...]:
        """Return ``keypoint`` (joint, xy) float32 and ``visible`` (joint,) uint8."""
        return (
            TargetSpec("keypoint", "points", ("joint", "xy"), (self.count, 2), "float32"),
            TargetSpec("visible", "joints", ("joint",), (self.count,), "uint8"),
        )

    def read(self, cells: Mapping[str, Any]) -> dict[str, Target]:
        """Return a row's ``keypoint`` and ``visible``.

        Raises
        ------
        SampleError
            If a cell holds something else, or a visible joint has no place.
        """
        points = numbers(cells, self.points, (self.count, 2))
        visible = numbers(cells, self.visible, (self.count,))
        if not np.isin(visible, np.arange(256)).all():
            raise SampleError("target", f"{self.visible} must be whole numbers of 0 to 255")
        missing = np.isnan(points).any(axis=1) | (points == MISSING).all(axis=1)
        for joint in np.flatnonzero(missing & (visible > 0)):
            raise SampleError("target", f"joint {joint} is visible but has no place")
        points[missing] = np.nan
        return {
            "keypoint": Target("points", points.astype(np.float32)),
            "visible": Target("joints", visible.astype(np.uint8)),
        }


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A picture of classes or regions beside each picture: its values are never interpolated.

    Values are those of the file: indices of a palette and not their colours, grey levels of
    1 to 16 bits unscaled. A mask is set upright by its own orientation, if its file has one,
    and never by its picture's: masks of pictures that lie on their side must be upright.

    Attributes
    ----------
    column
        The column of paths.
    fill
        The value where a transform pads.
    channels
        1, or 3 for masks in colours.
    dtype
        ``uint8``, or ``uint16`` for values over 255.
    array
        Its name in the store.
    """

    column: str = "mask"
    fill: int = 0
    channels: int = 1
    dtype: MaskType = "uint8"
    array: str = "mask"

    def __post_init__(self) -> None:
        """Refuse a fill that the dtype cannot hold, and channels that no mask has."""
        one_of("dtype", self.dtype, get_args(MaskType))
        if self.channels not in (1, 3):
            raise OptionError(f"channels must be 1 or 3 (colours), got {self.channels}; try 1")
        fill: object = self.fill  # TOML may hold anything
        greatest = np.iinfo(self.dtype).max
        if not isinstance(fill, int) or isinstance(fill, bool) or not 0 <= fill <= greatest:
            raise OptionError(
                f"fill must be a whole number of 0 to {greatest} in a mask of {self.dtype}, "
                f"got {fill!r}; try {greatest}"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The manifest's column of the file that ``read`` needs."""
        return (self.column,)

    def specs(self) -> tuple[TargetSpec, ...]:
        """Return the mask's array, of size 0 until a transform has given it one."""
        axes = tuple(f"{self.array}_{axis}" for axis in ("height", "width", "channel"))
        return (TargetSpec(self.array, "mask", axes, (0, 0, self.channels), self.dtype),)

    def read(
        self, content: bytes, height: int, width: int, max_pixels: int = MAX_PIXELS
    ) -> dict[str, Target]:
        """Return the mask in a file's bytes, for a picture of ``height`` x ``width`` upright.

        More than ``max_pixels`` are refused: a mask is decoded whole.

        Raises
        ------
        SampleError
            If the file is at fault, or of another size than its picture. What it declares is
            compared before a pixel is decoded, so that no mask takes more memory than that.
        """
        values = decode_mask(
            content,
            channels=self.channels,
            dtype=self.dtype,
            size=(height, width),
            max_pixels=max_pixels,
        )
        return {self.array: Target("mask", values, self.fill)}


def finished(target: Target) -> NDArray[Any]:
    """Return a target as it is stored: missing points are -1 again, all else is as it was."""
    if target.kind != "points":
        return target.array
    missing = np.isnan(target.array).any(axis=-1, keepdims=True)
    return np.where(missing, target.array.dtype.type(MISSING), target.array)
