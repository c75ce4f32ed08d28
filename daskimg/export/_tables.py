"""Parquet as Hugging Face datasets read it: pictures as struct<bytes, path>, typed by metadata.

Their reader needs no more than pyarrow and the ``huggingface`` entry of the schema.
"""

from __future__ import annotations

import io
import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daskimg.decode import encode_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from daskimg.export._items import Cast, Item, Label
    from daskimg.export._options import ExportOptions
    from daskimg.fetch import Content
    from daskimg.read import Samples

_ROWS = 128  # of a row group: what a reader of one picture has to fetch
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class Tables:
    """A line a sample: the picture, row and part, labels, joints, masks."""

    endings: tuple[str, ...] = (".parquet",)

    def __init__(
        self,
        samples: Samples,
        cast: Cast,
        options: ExportOptions,
        encode: Callable[[NDArray[Any]], bytes],
        width: int,
    ) -> None:
        self._cast = cast
        self._encode = encode
        self._path = f"{{:0{width}d}}.{options.suffix}"
        self._schema = _schema(samples, cast)

    def encoded(self, item: Item) -> dict[str, Any]:
        """Return a sample's cells."""
        cells: dict[str, Any] = {
            "image": {"bytes": self._encode(item.image), "path": self._path.format(item.slot)},
            "row": int(item.numbers["row"]),
            "part": int(item.numbers["part"]),
        }
        for label in self._cast.labels:
            cells[label.name] = _cell(label, item.numbers[label.name])
        for name in self._cast.small:
            cells[name] = np.asarray(item.numbers[name]).tolist()
        for name, mask in item.masks.items():
            cells[name] = {"bytes": encode_png(mask), "path": None}
        return cells

    def joined(self, pieces: Iterator[dict[str, Any]], count: int) -> dict[str, Content]:  # noqa: ARG002
        """Return the content of a file, by what its name ends in."""
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, self._schema, compression="none") as writer:
            while rows := list(islice(pieces, _ROWS)):
                writer.write_table(pa.Table.from_pylist(rows, self._schema))
        return {self.endings[0]: sink.getbuffer()}


def _cell(label: Label, value: Any) -> Any:
    if label.kind == "multi":
        return np.flatnonzero(value).tolist()
    if label.kind == "float":
        return None if np.isnan(value) else float(value)
    return int(value)


def _schema(samples: Samples, cast: Cast) -> pa.Schema:
    """Return the columns, with what they are in words of Hugging Face's."""
    picture = _PICTURE, {"_type": "Image"}
    columns: dict[str, tuple[pa.DataType, Any]] = {
        "image": picture,
        "row": (pa.int64(), _number("int64")),
        "part": (pa.int32(), _number("int32")),
    }
    for label in cast.labels:
        columns[label.name] = _label_type(label)
    for name in cast.small:
        array = samples.target(name)
        columns[name] = _nested(np.dtype(array.dtype).name, len(array.shape) - 1)
    columns |= dict.fromkeys(cast.masks, picture)
    features = {name: feature for name, (_, feature) in columns.items()}
    words = json.dumps({"info": {"features": features}})
    fields = [pa.field(name, kind) for name, (kind, _) in columns.items()]
    return pa.schema(fields, {"huggingface": words})


def _label_type(label: Label) -> tuple[pa.DataType, Any]:
    classes = {"names": list(label.classes), "_type": "ClassLabel"}
    if label.kind == "class":
        return pa.int64(), classes
    if label.kind == "multi":
        return pa.list_(pa.int64()), {"feature": classes, "_type": "Sequence"}
    if label.kind == "float":
        return pa.float32(), _number("float32")
    return pa.int64(), _number("int64")


def _nested(dtype: str, depth: int) -> tuple[pa.DataType, Any]:
    """Return the type of an array in an array, so many deep."""
    kind, feature = pa.from_numpy_dtype(dtype), _number(dtype)
    for _ in range(depth):
        kind, feature = pa.list_(kind), {"feature": feature, "_type": "Sequence"}
    return kind, feature


def _number(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "_type": "Value"}
