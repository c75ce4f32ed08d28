"""One finished store, or one split of it, as it lies there."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg import store
from daskimg.errors import OptionError
from daskimg.read._sources import Arrays
from daskimg.tiles import join_tiles

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class Stored:
    """A finished store, or one split of it: opened once, for all views of it.

    Parameters
    ----------
    url
        The store: a local path or a URL.
    split
        Which split; none if the store has none.

    Attributes
    ----------
    url, split
        The store, and the split of it.
    committed
        The store as its last commit has it.
    group
        The Zarr group of the arrays.
    attributes
        What the store says of itself and of this split.
    arrays
        Its sharded arrays, for reading in training.
    """

    def __init__(self, url: str, split: str | None) -> None:
        self.committed = store.open_committed(url)
        self.url = self.committed.folder.url
        self.split = _split_of(self.committed, split)
        self.attributes: dict[str, Any] = self.committed.attributes
        self.group: Any = self.committed.group
        if self.split is not None:
            self.group = self.group[self.split]
            self.attributes = self.attributes | self.attributes["splits"][self.split]
        self.arrays = Arrays(self.committed, self.split)

    def __len__(self) -> int:
        return int(self.group["image"].shape[0])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all arrays, sorted."""
        return tuple(sorted(self.group.array_keys()))

    def axes(self, name: str) -> tuple[str, ...]:
        """Return the names of an array's axes."""
        return tuple(self.group[name].metadata.dimension_names or ())

    def array(self, name: str) -> NDArray[Any]:
        """Return a whole array."""
        return np.asarray(self.group[name][...])

    @property
    def table_rows(self) -> int:
        """Rows of the manifest, of all splits, as the plan has them."""
        return int(store.read_plan(self.committed.folder).rows)

    def rows(self) -> pd.DataFrame:
        """Return the rows table, of this split if there are several."""
        rows: pd.DataFrame = self.committed.rows().to_pandas()
        return self._own(rows)

    def failures(self) -> pd.DataFrame:
        """Return a line for each failed sample."""
        failures: pd.DataFrame = self.committed.failures().to_pandas()
        return self._own(failures)

    def _own(self, lines: pd.DataFrame) -> pd.DataFrame:
        if self.split is None:
            return lines
        return lines[lines["split"] == self.split].reset_index(drop=True)

    def content_digest(self) -> str:
        """Return a hash of what was committed of all arrays, labels excepted."""
        labels = {"label", *self.attributes["columns"]}
        prefix = f"{self.split}/" if self.split else ""
        found = hashlib.sha256()
        for name, (_, digest) in sorted(self.committed.commit.objects.items()):
            array, chunk, _ = name.removeprefix(prefix).partition("/c/")
            if chunk and name.startswith(prefix) and array not in labels:
                found.update(f"{name}:{digest};".encode())
        return found.hexdigest()

    def joined(self, row: int, fill: float) -> NDArray[Any]:
        """Return one row's picture, put together from its tiles: see ``Samples.join``."""
        line = self._line_of(row)
        first, stop = int(line["first_sample"]), int(line["first_sample"] + line["samples"])
        failed = np.flatnonzero(np.asarray(self.group["status"][first:stop]) != store.OK)
        if len(failed):
            raise OptionError(
                f"row {row}: {len(failed):,} of its {stop - first:,} tiles failed, part "
                f"{failed[0]} first; samples.failures tells why, and join_tiles joins the others"
            )
        return join_tiles(
            np.asarray(self.group["image"][first:stop]),
            np.asarray(self.group["affine"][first:stop]),
            height=int(line["source_height"]),
            width=int(line["source_width"]),
            fill=fill,
        )

    def _line_of(self, row: int) -> pd.Series[Any]:
        """Return a row's line of the rows table, or refuse one that has no samples here."""
        rows = self.table_rows
        if not 0 <= row < rows:
            raise OptionError(
                f"the table has {rows:,} rows, and no row {row}; try 0 to {rows - 1}"
            )
        line = self.committed.rows_at(np.array([row])).iloc[0]
        if self.split is not None and line["split"] != self.split:
            raise OptionError(
                f"row {row} is of the split {line['split']}, and this is {self.split}; "
                f"say open_store(url, {line['split']!r})"
            )
        if not line["samples"]:
            raise OptionError(
                f"row {row} gave no sample: a step left it out, or it is smaller than a tile; "
                "samples.rows tells how many each row has"
            )
        if line["status"] != store.OK:
            raise OptionError(
                f"row {row} failed ({line['reason']}): there is nothing to join; "
                "samples.failures tells why"
            )
        return line


def _split_of(committed: store.Committed, split: str | None) -> str | None:
    """Return the split to be read, or refuse with the names there are."""
    names = committed.splits
    if split is None and not names:
        return None
    if split is None:
        raise OptionError(
            f"{committed.folder.url} has the splits {', '.join(names)}; "
            f"say which: open_store(url, {names[0]!r})"
        )
    if split not in names:
        there = f"the splits {', '.join(names)}" if names else "no splits"
        raise OptionError(f"{committed.folder.url} has {there}, and not {split!r}")
    return split
