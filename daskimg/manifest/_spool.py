"""A listing set aside outside memory: read once from its storage, then as often as is needed."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from daskimg import fetch
from daskimg.manifest._pieces import PIECE_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskimg.fetch import Listed

_IN_MEMORY = 16 << 20  # bytes of Parquet below which no temporary file is made: a million names
_SCHEMA = pa.schema([("path", pa.string()), ("size", pa.int64()), ("generation", pa.string())])


class Spool(Collection[str]):
    """Names, sizes and generations of objects, as Parquet in an unnamed temporary file.

    Parameters
    ----------
    pages
        The listing, sorted by name.
    prefix
        What locations begin with, and paths are without.
    """

    def __init__(self, pages: Iterable[list[Listed]], prefix: str) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  see below
        weakref.finalize(self, self._file.close)
        self._prefix = prefix
        self.rows = 0
        self.has_sizes = True
        self.has_generations = True
        self._write(pages)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the objects in order: ``path`` text, ``size`` int64, ``generation`` text."""
        from pyarrow import parquet

        self._file.seek(0)
        file = parquet.ParquetFile(pa.PythonFile(self._file, mode="r"), pre_buffer=False)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)

    def __len__(self) -> int:
        return self.rows

    def __contains__(self, location: object) -> bool:
        return any(each == location for each in self)

    def __iter__(self) -> Iterator[str]:
        """Yield the locations in order."""
        for table in self.tables():
            for path in table["path"].to_pylist():
                yield path if fetch.is_url(path) else self._prefix + path

    def _write(self, pages: Iterable[list[Listed]]) -> None:
        from pyarrow import parquet

        waiting: list[Listed] = []
        sink = pa.PythonFile(self._file, mode="w")
        with parquet.ParquetWriter(sink, _SCHEMA, compression="zstd") as writer:
            for page in pages:
                waiting += page
                while len(waiting) >= PIECE_ROWS:
                    writer.write_table(self._table(waiting[:PIECE_ROWS]))
                    del waiting[:PIECE_ROWS]
            if waiting:
                writer.write_table(self._table(waiting))

    def _table(self, found: list[Listed]) -> pa.Table:
        self.rows += len(found)
        names, sizes, generations = zip(*(each[:3] for each in found), strict=True)
        columns = [[self._relative(name) for name in names], sizes, generations]
        table = pa.table(columns, schema=_SCHEMA)
        self.has_sizes &= not table["size"].null_count
        self.has_generations &= not table["generation"].null_count
        return table

    def _relative(self, location: str) -> str:
        """Return a path; what lies elsewhere, as a page of the web may say, stays whole."""
        if location.startswith(self._prefix):
            return location[len(self._prefix) :]
        return location if fetch.is_url(location) else str(Path(location).absolute())
