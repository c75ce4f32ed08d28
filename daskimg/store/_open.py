"""Opening a finished store for reading: through its commit, never by accident before it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from daskimg.errors import StoreError
from daskimg.fetch import is_url, open_folder
from daskimg.store._commit import last_commit
from daskimg.store._layout import FAILURES, ROWS
from daskimg.store._records import ROWS_PER_FILE, rows_name, state_of

if TYPE_CHECKING:
    import pandas as pd
    import zarr
    from numpy.typing import NDArray

    from daskimg.fetch import Folder
    from daskimg.store._commit import Commit


@dataclass(frozen=True)
class Committed:
    """A finished store, opened for reading.

    Attributes
    ----------
    folder
        Where it lies.
    commit
        The commit that is read.
    group
        Its Zarr group, read-only.
    attributes
        ``attributes["daskimg"]`` of the root.
    """

    folder: Folder
    commit: Commit
    group: zarr.Group
    attributes: dict[str, Any]

    def rows(self, columns: list[str] | None = None) -> pa.Table:
        """Return the rows table, or some columns of it: a line a manifest row, in order."""
        names = [name for name in self.commit.objects if name.startswith(f"{ROWS}/")]
        return pa.concat_tables([self._table(name, columns) for name in sorted(names)])

    @property
    def splits(self) -> tuple[str, ...]:
        """The store's splits; none, if its arrays are in its root."""
        return tuple(self.attributes.get("splits", ()))

    def counted_samples(self) -> int:
        """Return the samples that the rows table accounts for."""
        names = [name for name in self.commit.objects if name.startswith(f"{ROWS}/")]
        return sum(pc.sum(self._table(name, ["samples"])["samples"]).as_py() for name in names)

    def rows_at(self, numbers: NDArray[np.int64]) -> pd.DataFrame:
        """Return the lines of some rows, given in rising order; only their files are read."""
        files = numbers // ROWS_PER_FILE
        parts = [
            self._table(rows_name(int(file))).take(numbers[files == file] % ROWS_PER_FILE)
            for file in np.unique(files)
        ]
        found: pd.DataFrame = pa.concat_tables(parts).to_pandas()
        return found

    def failures(self) -> pa.Table:
        """Return a line for each failed sample."""
        return self._table(FAILURES)

    def _table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        return pq.read_table(io.BytesIO(self.folder.read(name)), columns=columns)


def find_commit(url: str) -> tuple[Folder, Commit]:
    """Return a finished store's folder and its last commit; no array is opened.

    Raises
    ------
    StoreError
        If there is none, it is not finished, or it is not daskimg's.
    """
    folder = open_folder(url)
    state = state_of(folder)
    if state == "empty":
        raise StoreError(f"there is no store at {folder.url}")
    if state == "foreign":
        raise StoreError(f"{folder.url} is not a store that daskimg wrote")
    commit = last_commit(folder)
    if commit is None:
        raise StoreError(
            f"the store at {folder.url} is not finished; run the command that builds it again"
        )
    return folder, commit


def open_committed(url: str) -> Committed:
    """Open a finished store.

    Raises
    ------
    StoreError
        If there is none, it is not finished, or it is not daskimg's.
    """
    import zarr  # here: building a store does not need it until its commit

    from daskimg.store._remote import RemoteStore

    folder, commit = find_commit(url)
    _refuse_holes(folder, commit)
    try:
        # A path, not its text: zarr reads a # in text as the end of the path.
        place = RemoteStore(folder.url) if is_url(folder.url) else Path(folder.url)
        group = zarr.open_group(place, mode="r", zarr_format=3)
        attributes: Any = group.attrs["daskimg"]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise StoreError(
            f"{folder.url}: the metadata is damaged ({error}); "
            f"run the command that builds it again"
        ) from error
    return Committed(folder, commit, group, dict(attributes))


def _refuse_holes(folder: Folder, commit: Commit) -> None:
    """Refuse a store of which objects are missing: Zarr would read them as zeros."""
    found = folder.sizes()
    gone = [name for name, (size, _) in commit.objects.items() if found.get(name) != size]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise StoreError(
            f"{folder.url}: {gone[0]}{more} missing or of another size; run the command that "
            f"builds it again to repair it (daskimg verify lists all)"
        )
