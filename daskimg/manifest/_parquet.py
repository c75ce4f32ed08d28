"""Parquet tables: a file, many, or a folder of them; picture bytes stay where they are."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from daskimg.errors import ManifestError
from daskimg.manifest._cells import is_binary, plain
from daskimg.manifest._pieces import Part, Piece, Source
from daskimg.manifest._streams import opened
from daskimg.manifest._texts import refuse_other_columns, refuse_repeated_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH_ROWS = 65_536
_BUFFER = 1 << 20  # a column chunk of pictures is streamed through this, not held


@dataclass(frozen=True, kw_only=True)
class ParquetTable(Source):
    """Parquet files of the same columns, one after another, read by row group.

    Attributes
    ----------
    structs
        Those of ``binary`` that are a struct of bytes and path, as Hugging Face writes.
    path_struct
        The struct whose ``path`` field is read, as a column under the struct's name.
    """

    locations: tuple[str, ...]
    structs: tuple[str, ...]
    path_struct: str | None = None
    reads_bytes: ClassVar[bool] = True

    @classmethod
    def open(cls, name: str, folder: str, locations: list[str]) -> ParquetTable:
        """Read the schema of the first file."""
        with parquet_file(locations[0]) as file:
            schema = file.schema_arrow
        refuse_repeated_columns(locations[0], tuple(schema.names))
        binary = tuple(field.name for field in schema if is_binary(field.type))
        structs = tuple(
            name
            for name in binary
            if pa.types.is_struct(schema.field(name).type)
            and schema.field(name).type.get_field_index("path") >= 0
        )
        return cls(
            name=name,
            folder=folder,
            columns=tuple(schema.names),
            binary=binary,
            locations=tuple(locations),
            structs=structs,
        )

    def from_bytes(self, column: str) -> Source:
        """Return the table with pictures in ``column``, or by its paths if it has no bytes."""
        has_path = column in self.structs
        path_struct = column if has_path else None
        if has_path and self._holds_no_bytes(column):
            return replace(self, path_struct=path_struct)
        return replace(self, path_struct=path_struct, bytes_column=column)

    def pieces(self) -> Iterator[Piece]:
        """Yield a piece or more per row group, without any column of bytes."""
        kept = [name for name in self.columns if name not in self.binary]
        wanted = [*kept, *([f"{self.path_struct}.path"] if self.path_struct else [])]
        for location in self.locations:
            with parquet_file(location) as file:
                refuse_other_columns(location, tuple(file.schema_arrow.names), self.columns)
                part = None
                if self.bytes_column:
                    part = Part(location, _size(location), file.metadata.num_rows)
                for group in range(file.num_row_groups):
                    yield from self._group(file, group, wanted, part)

    def _group(
        self, file: Any, group: int, wanted: list[str], part: Part | None
    ) -> Iterator[Piece]:
        index = 0
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=wanted):
            columns = {
                name: plain(batch.column(name))
                for name in self.columns
                if name in batch.schema.names
            }
            if self.path_struct:
                columns[self.path_struct] = plain(_field(batch.column(self.path_struct), "path"))
            yield Piece(batch.num_rows, columns, part, group, index)
            index += batch.num_rows

    def _holds_no_bytes(self, column: str) -> bool:
        """Look at the first row group; an empty column is small, a full one ends the look."""
        with parquet_file(self.locations[0]) as file:
            if not file.metadata.num_rows:
                return False
            batches = file.iter_batches(16, row_groups=[0], columns=[f"{column}.bytes"])
            return all(
                _field(batch.column(0), "bytes").null_count == len(batch) for batch in batches
            )


def _field(column: pa.Array, name: str) -> pa.Array:
    """Return a field of a struct, null where the struct is; any other column is its own."""
    if not pa.types.is_struct(column.type):
        return column
    return column.flatten()[column.type.get_field_index(name)]


def picture_batches(file: Any, group: int, column: str, rows: int) -> Iterator[pa.Array]:
    """Yield (row,) bytes of one row group, ``rows`` at a time; all of the group in order."""
    for batch in file.iter_batches(rows, row_groups=[group], columns=[column]):
        yield _field(batch.column(0), "bytes")


@contextmanager
def parquet_file(location: str) -> Iterator[Any]:
    """Open a Parquet file.

    Raises
    ------
    ManifestError
        If it is not one, or cannot be read.
    """
    from pyarrow import parquet

    with opened(location) as file:
        try:
            yield parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
        except pa.ArrowInvalid as error:
            raise ManifestError(f"{location} cannot be read as Parquet: {error}") from None


def _size(location: str) -> int:
    with opened(location) as file:
        return file.seek(0, io.SEEK_END)


def places(piece: Piece) -> dict[str, pa.Array]:
    """Return where a piece's pictures are: file, row group, and row within the group."""
    assert piece.part is not None
    return {
        "bytes_file": pa.repeat(piece.part.location, piece.rows),
        "bytes_group": pa.repeat(pa.scalar(piece.group, pa.int64()), piece.rows),
        "bytes_index": pa.array(np.arange(piece.index, piece.index + piece.rows)),
    }
