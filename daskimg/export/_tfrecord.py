"""TFRecord files of ``tf.train.Example``, written without TensorFlow.

A record is its length, that length's checksum, the bytes, and their checksum; an Example is
three small messages of Protocol Buffers (tensorflow/core/example/example.proto and
feature.proto). Features are in the order of their names, so that equal samples give equal bytes.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from daskimg.decode import encode_png
from daskimg.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from daskimg.export._items import Cast, Item
    from daskimg.export._options import ExportOptions
    from daskimg.fetch import Content
    from daskimg.read import Samples

    Feature = bytes | str | int | float | NDArray[Any]
    Features = dict[str, Feature]

_MASK = 0xA282EAD8  # added to a checksum, so that one of data that hold checksums stays sound


def framed(content: bytes) -> bytes:
    """Return a record: what TFRecord files are made of, one behind another."""
    length = struct.pack("<Q", len(content))
    return length + _checksum(length) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    found = int(google_crc32c.value(content))
    turned = (found >> 15 | found << 17) & 0xFFFFFFFF
    return struct.pack("<I", (turned + _MASK) & 0xFFFFFFFF)


def example(features: Mapping[str, Feature]) -> bytes:
    """Return a ``tf.train.Example``: bytes and text, whole numbers, or floats, by name."""
    entries = (
        _field(1, _field(1, name.encode()) + _field(2, _feature(features[name])))
        for name in sorted(features)
    )
    return _field(1, b"".join(entries))


def _feature(value: Feature) -> bytes:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return _field(1, _field(1, value))
    flat = np.asarray(value).reshape(-1)
    if flat.dtype.kind == "f":
        return _field(2, _field(1, flat.astype("<f4").tobytes()))
    numbers = flat.astype(np.int64)
    small = bool(((numbers >= 0) & (numbers < 128)).all())
    packed = numbers.astype(np.uint8).tobytes() if small else b"".join(map(_varint, numbers))
    return _field(3, _field(1, packed))


def _field(number: int, content: bytes) -> bytes:
    """Return a field of a message that is itself of so many bytes."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int | np.int64) -> bytes:
    """Return a whole number, seven bits a byte; negative ones as their two's complement."""
    rest = int(number) & 0xFFFFFFFFFFFFFFFF
    found = bytearray()
    while rest >= 128:
        found.append(rest & 127 | 128)
        rest >>= 7
    found.append(rest)
    return bytes(found)


class Examples:
    """Samples as records in one of the layouts.

    Raises
    ------
    OptionError
        If the store has not what the layout is made of.
    """

    endings: tuple[str, ...] = (".tfrecord",)

    def __init__(
        self,
        samples: Samples,
        cast: Cast,
        options: ExportOptions,
        encode: Callable[[NDArray[Any]], bytes],
    ) -> None:
        self._cast = cast
        self._encode = encode
        self._pictures = options.pictures
        layout = options.layout or "example"
        self._people = _people(samples, cast) if layout == "pose" else None
        self._classes = _class_count(cast) if layout == "one-hot" else 0
        self._features = {
            "example": self._plain, "one-hot": self._one_hot, "pose": self._pose
        }[layout]  # fmt: skip

    def encoded(self, item: Item) -> bytes:
        """Return a sample's record."""
        return framed(example(self._features(item)))

    def joined(self, pieces: Iterator[bytes], count: int) -> dict[str, Content]:  # noqa: ARG002
        """Return the content of a file, by what its name ends in."""
        content = bytearray()
        for piece in pieces:
            content += piece
        return {self.endings[0]: content}

    def _plain(self, item: Item) -> Features:
        height, width, channels = item.image.shape
        found: Features = {
            "image/encoded": self._encode(item.image),
            "image/format": self._pictures,
            "image/height": height,
            "image/width": width,
            "image/channels": channels,
            "image/row": item.numbers["row"],
            "image/part": item.numbers["part"],
        }
        for label in self._cast.labels:
            place = "image/class" if label.name == "label" else f"image/{label.name}"
            value = item.numbers[label.name]
            found[f"{place}/label"] = value
            if label.kind == "class":
                found[f"{place}/text"] = label.classes[value] if value >= 0 else ""
        for name in self._cast.small:
            found[f"image/{name}"] = item.numbers[name]
        for name, mask in item.masks.items():
            found[f"image/{name}/encoded"] = encode_png(mask)
        return found

    def _one_hot(self, item: Item) -> Features:
        height, width, channels = item.image.shape
        label = np.zeros(self._classes, np.int64)
        if item.numbers["label"] >= 0:
            label[item.numbers["label"]] = 1
        return {
            "image": item.image.tobytes(),
            "label": label,
            "height": height,
            "width": width,
            "depth": channels,
        }

    def _pose(self, item: Item) -> Features:
        """Return a crop and its joints: v 2 where one is seen, -1 where it is not in the crop."""
        assert self._people is not None
        height, width, channels = item.image.shape
        points, visible = item.numbers["keypoint"], item.numbers["visible"]
        inside = ((points >= 0) & (points < (width, height))).all(axis=1)
        whole = np.where(inside[:, None], np.floor(points), -1).astype(np.int64)
        person = self._people.loc[item.numbers["row"]]
        found: Features = {
            "image/encoded": self._encode(item.image),
            "image/filename": str(person["path"]),
            "image/height": height,
            "image/width": width,
            "image/depth": channels,
            "image/object/parts/x": whole[:, 0],
            "image/object/parts/y": whole[:, 1],
            "image/object/parts/v": np.where(inside & (visible > 0), 2, 0),
        }
        return found | _centred(person, item.numbers["affine"])


def _centred(person: pd.Series[Any], affine: NDArray[Any]) -> Features:
    """Return where a person's centre is in the crop, and its height there / 200 pixels."""
    if "center" not in person or "scale" not in person:
        return {}
    x, y = affine @ np.array([*person["center"], 1.0])
    scale = float(person["scale"]) * math.sqrt(abs(np.linalg.det(affine[:, :2])))
    return {
        "image/object/center/x": math.floor(x),
        "image/object/center/y": math.floor(y),
        "image/object/scale": scale,
    }


def _people(samples: Samples, cast: Cast) -> pd.DataFrame:
    lacking = {"keypoint", "visible"} - set(cast.small)
    if lacking:
        raise OptionError(
            f"layout pose needs the arrays keypoint and visible, and the store has no "
            f"{' and no '.join(sorted(lacking))}; build it with --recipe pose"
        )
    rows = samples.rows
    if rows["row"].duplicated().any():
        raise OptionError("rows of several stores have the same numbers; export each by itself")
    columns = [name for name in ("path", "center", "scale") if name in rows.columns]
    return rows.set_index("row")[columns]


def _class_count(cast: Cast) -> int:
    label = cast.label()
    if label is None or label.kind != "class":
        kind = "none" if label is None else f"one of kind {label.kind}"
        raise OptionError(
            f"layout one-hot needs a label column of classes, and the store has {kind}; "
            f"try layout example"
        )
    return len(label.classes)
