"""Pictures that are in the table: read by row group, where they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from daskimg import fetch
from daskimg.errors import ManifestError, SampleError
from daskimg.manifest._parquet import parquet_file, picture_batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

_BATCH_ROWS = 32  # pictures in memory at once: a few megabytes


@dataclass(slots=True)
class _Run:
    """Rows of one row group, in its order, none twice."""

    file: str
    group: int
    indices: list[int]

    def takes(self, file: str, group: int, index: int) -> bool:
        return (self.file, self.group) == (file, group) and self.indices[-1] < index


def read_pictures(rows: pd.DataFrame, column: str) -> Iterator[bytes | SampleError]:
    """Yield each row's picture bytes, or what is wrong with them, in the order of ``rows``.

    Parameters
    ----------
    rows
        Rows of the rows table, with ``bytes_file``, ``bytes_group`` and ``bytes_index``.
    column
        ``Manifest.bytes_column``.

    Raises
    ------
    ManifestError
        If a Parquet file is not there any more, or is another one.
    TransportError
        If it could not be reached.
    """
    with fetch.scrubbing():
        for run in _runs(rows):
            yield from _pictures(run, column)


def _runs(rows: pd.DataFrame) -> Iterator[_Run]:
    run: _Run | None = None
    places = zip(rows["bytes_file"], rows["bytes_group"], rows["bytes_index"], strict=True)
    for file, group, index in places:
        if run is not None and run.takes(file, group, index):
            run.indices.append(int(index))
            continue
        if run is not None:
            yield run
        run = _Run(file, int(group), [int(index)])
    if run is not None:
        yield run


def _pictures(run: _Run, column: str) -> Iterator[bytes | SampleError]:
    start, wanted = 0, iter(run.indices)
    index = next(wanted, None)
    with parquet_file(run.file) as file:
        if run.group >= file.num_row_groups or column not in file.schema_arrow.names:
            raise _changed(run.file)
        for batch in picture_batches(file, run.group, column, _BATCH_ROWS):
            while index is not None and index < start + len(batch):
                yield _picture(batch[index - start].as_py())
                index = next(wanted, None)
            start += len(batch)
            if index is None:
                return
    raise _changed(run.file)


def _picture(content: bytes | None) -> bytes | SampleError:
    return SampleError("missing", "no bytes in the table") if content is None else content


def _changed(location: str) -> ManifestError:
    return ManifestError(f"{location} is not the file it was when the table was scanned")
