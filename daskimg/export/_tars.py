"""WebDataset: tars in which the files of a sample share a name and lie beside each other."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.decode import encode_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from daskimg.export._items import Cast, Item, Label
    from daskimg.export._options import ExportOptions
    from daskimg.fetch import Content

_BLOCK, _RECORD = 512, 10_240  # bytes: members are padded to the first, tars to the second


class Tars:
    """A sample as ``0000.png``, ``0000.cls`` (if it has a class), ``0000.json``, and its masks."""

    endings: tuple[str, ...] = (".tar",)

    def __init__(
        self,
        cast: Cast,
        options: ExportOptions,
        encode: Callable[[NDArray[Any]], bytes],
        width: int,
    ) -> None:
        self._cast = cast
        self._suffix = options.suffix
        self._encode = encode
        self._width = width

    def encoded(self, item: Item) -> bytes:
        """Return a sample's members."""
        key = f"{item.slot:0{self._width}d}"
        files = {self._suffix: self._encode(item.image)}
        label = self._cast.label()
        if label is not None and label.kind in ("class", "int"):
            files["cls"] = str(item.numbers["label"]).encode()
        files["json"] = json.dumps(told(item, self._cast), separators=(",", ":")).encode()
        for name, mask in item.masks.items():
            files[f"{name}.png"] = encode_png(mask)
        for name in self._cast.small:
            files[f"{name}.npy"] = npy(item.numbers[name])
        return b"".join(_member(f"{key}.{suffix}", content) for suffix, content in files.items())

    def joined(self, pieces: Iterator[bytes], count: int) -> dict[str, Content]:  # noqa: ARG002
        """Return the content of a file, by what its name ends in."""
        content = bytearray()
        for piece in pieces:
            content += piece
        content += bytes(2 * _BLOCK)
        content += bytes(-len(content) % _RECORD)
        return {self.endings[0]: content}


def _member(name: str, content: bytes) -> bytes:
    """Return a member with a header that is nobody's and of no time."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(content), 0o644
    return header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % _BLOCK)


def npy(array: NDArray[Any]) -> bytes:
    """Return an array as a file of NumPy's."""
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=False)
    return file.getvalue()


def told(item: Item, cast: Cast) -> dict[str, Any]:
    """Return where a sample comes from and its labels, in words and numbers."""
    numbers = item.numbers
    found = {
        "row": int(numbers["row"]),
        "part": int(numbers["part"]),
        "affine": numbers["affine"].tolist(),
    }
    for label in cast.labels:
        found[label.name] = spoken(label, numbers[label.name])
    return found


def spoken(label: Label, value: Any) -> Any:
    """Return a label as people say it: names of classes, numbers; ``None`` where there is none."""
    if label.kind == "class":
        return label.classes[value] if value >= 0 else None
    if label.kind == "multi":
        return [label.classes[i] for i in np.flatnonzero(value)]
    if label.kind == "float":
        return None if np.isnan(value) else float(value)
    return int(value)
