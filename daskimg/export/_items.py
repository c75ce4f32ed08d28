"""A sample with all that goes along, and which of the store's arrays these are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskimg.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from daskimg.read import Batch, Samples

_ALWAYS = ("row", "part", "affine")


class Label(NamedTuple):
    """A label column: its array's name, its kind, and the names of its classes."""

    name: str
    kind: str
    classes: tuple[str, ...]


class Item(NamedTuple):
    """A sample to be exported.

    Attributes
    ----------
    slot
        Its number in the store.
    image
        (height, width, channel).
    numbers
        By the array's name: row, part, labels, joints; scalars or small arrays.
    masks
        By the array's name: (height, width, channel) uint8.
    """

    slot: int
    image: NDArray[Any]
    numbers: dict[str, Any]
    masks: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Cast:
    """Which arrays of a store play a part in an export.

    Attributes
    ----------
    labels
        The label columns.
    small
        Names of other arrays of a few numbers a sample: joints.
    masks
        Names of arrays that are pictures themselves.
    heavy
        Names of arrays that are neither, as heatmaps.
    """

    labels: tuple[Label, ...]
    small: tuple[str, ...]
    masks: tuple[str, ...]
    heavy: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All that are read beside the images, but the heavy ones."""
        labels = tuple(label.name for label in self.labels)
        return (*_ALWAYS, *labels, *self.small, *self.masks)

    def label(self) -> Label | None:
        """Return the first label column, if there is one."""
        return next((label for label in self.labels if label.name == "label"), None)

    def items(self, batch: Batch, slots: NDArray[np.int64]) -> Iterator[Item]:
        """Yield the samples of a batch, which lie in these slots of their store."""
        arrays = batch.targets
        plain = [name for name in arrays if name not in self.masks]
        for i, slot in enumerate(slots.tolist()):
            yield Item(
                slot,
                batch.image[i],
                {name: arrays[name][i] for name in plain},
                {name: arrays[name][i] for name in self.masks},
            )


def cast_of(samples: Samples) -> Cast:
    """Return which arrays of a store go where."""
    found: dict[str, list[str]] = {"small": [], "masks": [], "heavy": []}
    for name in samples.targets:
        array = samples.target(name)
        found[_nature(array)].append(name)
    classes = samples.attributes["classes"]
    labels = tuple(
        Label(name, kind, tuple(classes.get(column, ())))
        for name, (column, kind) in samples.attributes["columns"].items()
    )
    return Cast(labels, *(tuple(found[nature]) for nature in ("small", "masks", "heavy")))


def _nature(array: Any) -> str:
    if len(array.shape) < 4:
        return "small"
    return "masks" if array.dtype == np.uint8 and array.shape[3] in (1, 3) else "heavy"


def refuse_pixels(samples: Samples, encoding: str) -> None:
    """Refuse pictures that an encoding cannot hold.

    Raises
    ------
    OptionError
        Naming a format that can.
    """
    channels, dtype = samples.image.shape[3], np.dtype(samples.image.dtype).name
    grey = channels == 1 and dtype == "uint16" and encoding == "png"
    if not grey and (dtype != "uint8" or channels not in (1, 3)):
        raise OptionError(
            f"{encoding} files do not hold {channels} channels of {dtype}; "
            f"try the format npy, which holds all"
        )
