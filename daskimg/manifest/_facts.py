"""What a scan finds out about a table, and the numbered rows that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from daskimg import fetch
from daskimg.manifest._cells import Column, converted, texts, type_name
from daskimg.manifest._parquet import places
from daskimg.manifest._sealed import SEALED, sealed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskimg.manifest._labels import Label
    from daskimg.manifest._pieces import Piece


@dataclass(frozen=True, slots=True)
class Kept:
    """A column of the table that the rows table keeps.

    Attributes
    ----------
    column, stored
        Its name in the table and in the rows table.
    kind
        The type that fits all its values.
    cells
        Whether its values are text to be converted.
    missing
        Whether a value is missing.
    """

    column: str
    stored: str
    kind: pa.DataType
    cells: bool
    missing: bool


@dataclass(frozen=True, eq=False)
class Facts:
    """What one pass over a table finds out.

    Attributes
    ----------
    rows
        Number of rows.
    digest
        sha256 of the ordered (key, path) of all rows; for picture bytes also of each file's
        name, bytes and rows. The same however the table was cut, whatever its format.
    prefix_digest
        The same of the first ``prefix_rows`` rows: shows that rows were appended.
    values_digest
        sha256 of all kept columns, as the source spells them.
    digests
        The same of each kept column by itself, by its name in the table.
    labels
        The first is the array ``label``; empty if there is no label column.
    columns
        Name in the rows table and final type of every column of the table that is kept.
    sample
        Up to 100 rows as ``Manifest.pieces`` gives them: the first, and others at random
        but always the same, in table order.
    schema
        Of every piece; with pandas' notes, so that types come back as they were.
    mentions
        Remarks for the user.
    kept, repeated, key
        What ``Manifest.pieces`` needs: columns, hashes of paths that may come again, and the key
        with which it seals secrets; empty if there are none.
    """

    rows: int
    digest: str
    prefix_digest: str | None
    values_digest: str
    digests: dict[str, str]
    labels: tuple[Label, ...]
    columns: dict[str, str]
    sample: pd.DataFrame
    schema: pa.Schema
    mentions: tuple[str, ...]
    kept: tuple[Kept, ...] = field(repr=False)
    repeated: NDArray[np.uint64] = field(repr=False)
    key: bytes = field(repr=False)


def column_texts(piece: Piece, column: str) -> pa.Array:
    """Return (row,) a column as text, "" where it is missing or where there is no such column."""
    if column not in piece.columns:
        return pa.repeat("", piece.rows)
    return texts(piece.columns[column]).fill_null("")


def rows_table(
    piece: Piece, row: int, keys: pa.Array, paths: pa.Array, kept: tuple[Kept, ...]
) -> pa.Table:
    """Return a piece as rows of the rows table; ``row`` is the number of its first row."""
    columns = {"row": pa.array(np.arange(row, row + piece.rows)), "key": keys, "path": paths}
    if piece.part is not None:
        columns |= places(piece)
        columns["bytes_file"] = pa.repeat(fetch.public(piece.part.location), piece.rows)
    for column in kept:
        columns[column.stored] = _kept(piece.columns.get(column.column), piece.rows, column)
    return pa.table(columns)


def holds_secrets(piece: Piece) -> bool:
    """Tell whether an address of a piece has secrets in it: of a picture, or of its file."""
    location = piece.part.location if piece.part else ""
    return bool(piece.secrets) or fetch.public(location) != location


def with_sealed(
    table: pa.Table, piece: Piece, path: str, kept: tuple[Kept, ...], key: bytes
) -> pa.Table:
    """Return rows of ``piece`` with what is secret of them sealed; as they are without a key.

    ``path`` is the table's column of paths.
    """
    if not key:
        return table
    names = [(path, "path"), *((column.column, column.stored) for column in kept)]
    secrets = {stored: piece.secrets[name] for name, stored in names if name in piece.secrets}
    if piece.part is not None:
        secrets["bytes_file"] = pa.repeat(piece.part.location, piece.rows)
    return table.append_column(SEALED, sealed(secrets, piece.rows, key))


def _kept(values: Column | None, rows: int, column: Kept) -> pa.Array:
    if values is None:
        return pa.nulls(rows, column.kind)
    return converted(values, column.kind, cells=column.cells)


def frame_of(table: pa.Table, kept: tuple[Kept, ...]) -> pd.DataFrame:
    """Return rows as a frame; whole numbers stay whole beside missing ones."""
    frame: pd.DataFrame = table.to_pandas()
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    for column in kept:
        if column.missing and column.kind in nullable:
            values = table[column.stored].to_pandas(types_mapper=nullable.get)
            frame[column.stored] = values.array
    return frame


def kept_types(kept: tuple[Kept, ...]) -> dict[str, str]:
    """Return the name in the rows table, and the type, of each column."""
    return {column.stored: type_name(column.kind) for column in kept}
