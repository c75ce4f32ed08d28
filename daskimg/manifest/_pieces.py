"""Pieces of a table: columns of so many rows, as a source gives them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from daskimg import fetch
from daskimg.errors import ManifestError
from daskimg.manifest._sealed import public_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daskimg.manifest._cells import Column

PIECE_ROWS = 100_000
"""Rows in memory at once, at most."""


@dataclass(frozen=True, slots=True)
class Part:
    """A Parquet file that holds picture bytes: where, its bytes, its rows."""

    location: str
    size: int
    rows: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of a table.

    Attributes
    ----------
    rows
        Number of rows.
    columns
        Their values, by column, each of length ``rows``.
    secrets
        Those columns with the secrets that their addresses hold in the table.
    part, group, index
        For picture bytes: the file, its row group, and the first row's place in that.
    """

    rows: int
    columns: dict[str, Column]
    part: Part | None = None
    group: int = 0
    index: int = 0
    secrets: dict[str, Column] = field(default_factory=dict)

    def cut(self, start: int, stop: int) -> Piece:
        """Return the rows from ``start`` to ``stop``, as a view."""
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        secrets = {name: column[start:stop] for name, column in self.secrets.items()}
        index = self.index + start
        return replace(self, rows=stop - start, columns=columns, index=index, secrets=secrets)

    def row(self, row: int) -> Piece:
        """Return one row, copied: a view of it would keep the whole piece in memory."""
        columns, secrets = (
            {
                name: column[[row]] if isinstance(column, np.ndarray) else column.take([row])
                for name, column in of.items()
            }
            for of in (self.columns, self.secrets)
        )
        index = self.index + row
        return replace(self, rows=1, columns=columns, index=index, secrets=secrets)

    def public(self) -> Piece:
        """Return it without secrets in its columns: those are in ``secrets``."""
        found = {name: public_column(column) for name, column in self.columns.items()}
        changed = [name for name, column in found.items() if column is not self.columns[name]]
        if not changed:
            return self
        return replace(self, columns=found, secrets={n: self.columns[n] for n in changed})

    def whole(self) -> Piece:
        """Return it with its columns as they are in the table."""
        return replace(self, columns={**self.columns, **self.secrets}, secrets={})


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A table that can be read again and again, in the same order.

    Attributes
    ----------
    name
        How a message calls it.
    folder
        What its relative paths are relative to.
    columns
        Names of its columns, as far as opening it tells.
    binary
        Those among them that hold bytes.
    bytes_column
        The column that pictures come from, or ``None`` if they come from paths.
    cells
        Whether all its values are text, to be converted for the whole column.
    reads_bytes
        Whether pictures can come from a column of it.
    class_names
        Class names in order, by column, where the source itself has an order.
    class_words
        What a class is called in words, by its name, where the source says so.
    observed
        Columns of what a listing says of each object, as its generation: what was seen on the
        day, on which no label depends.
    split_column
        The column that says which split a row is of, where the source is made of splits.
    """

    name: str
    folder: str
    columns: tuple[str, ...]
    binary: tuple[str, ...] = ()
    bytes_column: str | None = None
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    class_words: Mapping[str, str] = field(default_factory=dict, repr=False)
    observed: tuple[str, ...] = ()
    split_column: str | None = None
    cells: ClassVar[bool] = False
    reads_bytes: ClassVar[bool] = False

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """Yield all rows, in order, in pieces of any size."""

    def from_bytes(self, column: str) -> Source:
        """Return the same table with its pictures in ``column``; only Parquet has them."""
        raise ManifestError(f"{self.name} cannot give picture bytes from column {column!r}")


def numbered(source: Source, limit: int | None) -> Iterator[tuple[int, Piece]]:
    """Yield each piece with its first row's number; none is over ``PIECE_ROWS`` or ``limit``."""
    row = 0
    for given in _scrubbed(source.pieces()):
        piece = given.public()
        for start in range(0, piece.rows, PIECE_ROWS):
            stop = min(piece.rows, start + PIECE_ROWS)
            if limit is not None:
                stop = min(stop, start + limit - row)
            if stop > start:
                yield row, piece.cut(start, stop)
                row += stop - start
            if row == limit:
                return


def _scrubbed(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield pieces; an error names no address that may not be shown."""
    with fetch.scrubbing():
        yield from pieces
