"""Data frames as tables: pandas, and Dask partition by partition (without importing Dask)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from daskimg.errors import ManifestError
from daskimg.manifest._cells import Column, objects, plain
from daskimg.manifest._pieces import PIECE_ROWS, Piece, Source
from daskimg.manifest._texts import refuse_repeated_columns

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_dask(source: object) -> bool:
    """Recognise a Dask DataFrame by its class, which only exists once Dask is imported."""
    module = type(source).__module__
    return module.partition(".")[0] == "dask" and hasattr(source, "partitions")


@dataclass(frozen=True, kw_only=True)
class FrameTable(Source):
    """A pandas or Dask DataFrame; order is that of its rows, whatever the index says."""

    frame: Any = field(repr=False)

    @classmethod
    def open(cls, frame: Any) -> FrameTable:
        """Note the columns; a named index that is no column becomes one."""
        sort = "Dask DataFrame" if is_dask(frame) else "DataFrame"
        name = f"{sort} of {len(frame.columns)} column{'s' * (len(frame.columns) != 1)}"
        columns = tuple(map(str, frame.columns))
        refuse_repeated_columns(f"the {name}", columns)
        columns += tuple(n for n in map(str, _named(frame)) if n not in columns)
        binary = () if is_dask(frame) else tuple(_columns_of_bytes(frame))
        return cls(name=name, folder="", columns=columns, binary=binary, frame=frame)

    def pieces(self) -> Iterator[Piece]:
        """Yield slices of each partition."""
        for frame in _partitions(self.frame):
            for start in range(0, len(frame), PIECE_ROWS):
                yield _piece(frame.iloc[start : start + PIECE_ROWS])

    def from_bytes(self, column: str) -> Source:
        """Refuse: a frame of pictures would travel through the client."""
        raise ManifestError(
            f"column {column!r} of the {self.name} holds bytes; write the frame with "
            f"to_parquet() and give that file: pictures are then read where they are needed"
        )


def _named(frame: Any) -> list[Any]:
    names = getattr(frame.index, "names", None) or [frame.index.name]
    return [name for name in names if name is not None]


def _columns_of_bytes(frame: pd.DataFrame) -> Iterator[str]:
    for i, name in enumerate(frame.columns):
        column = frame.iloc[:, i]
        first = column.first_valid_index() if column.dtype == object else None
        place = int(np.argmax(column.notna())) if first is not None else None
        value = column.iloc[place] if place is not None else None
        if isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value):
            yield str(name)


def _partitions(frame: Any) -> Iterator[pd.DataFrame]:
    if isinstance(frame, pd.DataFrame):
        yield frame
        return
    for i in range(frame.npartitions):
        yield frame.partitions[i].compute()


def _piece(frame: pd.DataFrame) -> Piece:
    columns = {str(name): _column(frame.iloc[:, i]) for i, name in enumerate(frame.columns)}
    for name in _named(frame):
        level = pd.Series(frame.index.get_level_values(name))
        columns.setdefault(str(name), _column(level))
    return Piece(len(frame), columns)


def _column(series: pd.Series[Any]) -> Column:
    """Return a column as Arrow has it; as objects where Arrow has no such type."""
    if series.dtype != object:
        try:
            return plain(pa.array(series, from_pandas=True))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, TypeError):
            pass
    return objects(series.astype(object), len(series))
