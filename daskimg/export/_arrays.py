"""NumPy: the arrays as they are, a file each."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from daskimg.export._items import Cast, Item
    from daskimg.fetch import Content


class Arrays:
    """Images, labels and targets of many samples, each an array of its own."""

    def __init__(self, cast: Cast) -> None:
        self._names = ("image", "sample", *cast.names, *cast.heavy)
        self.endings = tuple(f"-{name}.npy" for name in self._names)

    def encoded(self, item: Item) -> dict[str, NDArray[Any]]:
        """Return a sample's arrays by name."""
        arrays = {"image": item.image, "sample": item.slot, **item.masks, **item.numbers}
        return {name: np.asarray(array) for name, array in arrays.items()}

    def joined(self, pieces: Iterator[dict[str, NDArray[Any]]], count: int) -> dict[str, Content]:
        """Return the content of a file for each array, by what its name ends in."""
        files: dict[str, bytearray] = {}
        arrays: dict[str, NDArray[Any]] = {}
        for number, piece in enumerate(pieces):
            for name in self._names:
                if not number:
                    files[name], arrays[name] = _file((count, *piece[name].shape), piece[name])
                arrays[name][number] = piece[name]
        return {f"-{name}.npy": file for name, file in files.items()}


def _file(shape: tuple[int, ...], like: NDArray[Any]) -> tuple[bytearray, NDArray[Any]]:
    """Return a file of NumPy's in memory, and the array in it, to be filled."""
    head = io.BytesIO()
    dtype = like.dtype.newbyteorder("<")
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, header)
    start = head.tell()
    content = bytearray(start + int(np.prod(shape)) * dtype.itemsize)
    content[:start] = head.getvalue()
    return content, np.frombuffer(content, dtype, offset=start).reshape(shape)
