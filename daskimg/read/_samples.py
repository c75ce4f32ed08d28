"""Reading a finished store: samples in table order, as NumPy. Needs no Dask and no decoder."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg import store
from daskimg.errors import OptionError
from daskimg.options import given
from daskimg.read._joined import JoinedArrays, joined_attributes, joined_table
from daskimg.read._lazy import Lazy
from daskimg.read._options import Selection
from daskimg.read._outlets import Outlets
from daskimg.read._slots import chosen_slots
from daskimg.read._stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from daskimg.read._columns import Column


class Samples(Outlets):
    """A finished store as a sequence of (image, label) pairs in table order.

    Every slot is there, also those of pictures that failed: zeros, with ``status`` 2. A slot
    keeps its number for ever. ``select`` and ``with_columns`` give views: Samples again, over
    the same pixels. Made by ``open_store`` and ``open_stores``.

    Parameters
    ----------
    stores
        The stores, one behind another.
    chosen : (sample,) int64
        Slots that a view has, rising; all, if none are given.
    columns
        Columns that a view has in place of the store's, or besides them.

    Attributes
    ----------
    url, split
        The store, and the split of it; of several stores, their addresses in a row.
    attributes
        What the store says of itself: recipe, columns, classes, versions; samples, failed, mean
        and std of this split. Of a view, those of the store.
    """

    def __init__(
        self,
        stores: Sequence[Stored],
        chosen: NDArray[np.int64] | None = None,
        columns: Mapping[str, Column] | None = None,
    ) -> None:
        self._stores = tuple(stores)
        self._chosen = chosen
        self._columns = dict(columns or {})
        self.url = ", ".join(each.url for each in self._stores)
        self.split = self._stores[0].split
        self.attributes = joined_attributes(self._stores)
        for name, column in self._columns.items():
            self.attributes = column.described(name, self.attributes)
        single = len(self._stores) == 1
        self._arrays: Any = self._stores[0].arrays if single else JoinedArrays(self._stores)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the addresses: each process opens its own connections."""
        places = [(each.url, each.split) for each in self._stores]
        return _reopened, (places, self._chosen, self._columns)

    @cached_property
    def image(self) -> Any:
        """(sample, height, width, channel): a Zarr array, or a view's; slice it like NumPy."""
        return self._lazy("image")

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """(sample,) int64: the slot of each sample in its store; rising.

        Of several stores, as if each began where the one before ends.
        """
        count = sum(map(len, self._stores))
        return np.arange(count) if self._chosen is None else self._chosen

    def places(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where among these samples some slots are; -1, for padding, stays."""
        if self._chosen is None:
            return slots
        return np.where(slots < 0, slots, np.searchsorted(self._chosen, slots))

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """(sample,) int64: the number of each sample's store, of several."""
        return np.searchsorted(np.cumsum([len(s) for s in self._stores]), self.slots, "right")

    def __len__(self) -> int:
        return sum(map(len, self._stores)) if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: int | np.integer[Any] | slice) -> tuple[NDArray[Any], Any]:
        """Return a slot's (height, width, channel) image and its label; or those of a slice."""
        if isinstance(index, slice):
            return np.asarray(self.image[index]), self.labels[index]
        place = self._place(index)
        return np.asarray(self.image[place]), self.labels[place]

    def _place(self, index: int | np.integer[Any]) -> int:
        """Return where a sample is; negative numbers count from the end."""
        try:
            return range(len(self))[index]
        except IndexError:
            raise IndexError(
                f"there are {len(self):,} samples, 0 to {len(self) - 1}, and no sample {index}"
            ) from None
        except TypeError:
            raise OptionError(
                f"samples[...] takes a whole number or a slice, got {given(index)}; "
                "try samples.take([1, 2]), or samples.select(mask=...)"
            ) from None

    def __iter__(self) -> Iterator[tuple[NDArray[Any], Any]]:
        for batch in self.batches(_BATCH, failed="keep"):
            yield from zip(batch.image, batch.label, strict=True)

    def __repr__(self) -> str:
        shape = " x ".join(str(length) for length in self.image.shape[1:])
        counts = f"{len(self):,} of {shape} {self.image.dtype}"
        place = repr(self.url) + (f", {self.split!r}" if self.split else "")
        failed = self.attributes["failed"]
        if self._chosen is not None:
            failed = int(np.count_nonzero(self.status != store.OK))
        return f"Samples({place}): {counts}, {failed:,} failed"

    @cached_property
    def labels(self) -> NDArray[Any]:
        """The first label column, encoded: (sample,) or (sample, class); -1 or NaN = none."""
        return self.array("label")

    @cached_property
    def status(self) -> NDArray[np.uint8]:
        """(sample,) uint8: 1 ok, 2 failed."""
        return self.array("status")

    @property
    def classes(self) -> list[str]:
        """Names of the first label column's classes; empty if it has none."""
        column = self.attributes["columns"].get("label", [None])[0]
        return list(self.attributes["classes"].get(column, []))

    @property
    def mean(self) -> NDArray[np.float64] | None:
        """(channel,) mean of the good samples on the 0..1 scale."""
        return self._statistic("mean")

    @property
    def std(self) -> NDArray[np.float64] | None:
        """(channel,) standard deviation of the good samples on the 0..1 scale."""
        return self._statistic("std")

    def _statistic(self, name: str) -> NDArray[np.float64] | None:
        value = self.attributes[name]
        return None if value is None else np.asarray(value)

    def array(self, name: str) -> NDArray[Any]:
        """Return a whole array of the store, for those that fit in memory: labels, affine, ..."""
        self.require([name])
        if name in self._columns:
            return self._columns[name].numbers
        return np.asarray(self._lazy(name)[...])

    def _lazy(self, name: str) -> Any:
        """Return an array of the store, to be sliced like NumPy."""
        arrays = [each.group[name] for each in self._stores]
        if len(arrays) == 1 and self._chosen is None:
            return arrays[0]
        return Lazy(arrays, self._chosen)

    def sharded(self, name: str) -> Any:
        """Return an array as it is cut into shards, or ``None`` if it is one of the small ones."""
        return None if name in self._columns else self._arrays.sharded(name)

    def axes(self, name: str) -> tuple[str, ...]:
        """Return the names of an array's axes."""
        return ("sample",) if name in self._columns else self._stores[0].axes(name)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the arrays that go with the images: keypoint, visible, heatmap, mask ..."""
        known = {"image", "status", "row", "part", "affine", "label", *self.attributes["columns"]}
        return tuple(name for name in self._stores[0].names if name not in known)

    def target(self, name: str) -> Any:
        """Return the Zarr array of a target, (sample, ...): slice it like NumPy."""
        if name not in self.targets:
            there = ", ".join(self.targets) or "none"
            raise OptionError(f"the store has no target {name!r}; it has {there}")
        return self._lazy(name)

    def require(self, names: Sequence[str]) -> None:
        """Refuse names that no array of the store has.

        Raises
        ------
        OptionError
            Naming the arrays there are.
        """
        there = sorted({*self._stores[0].names, *self._columns})
        for name in names:
            if name not in there:
                raise OptionError(f"the store has no array {name!r}; it has {', '.join(there)}")

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The manifest with what became of each row: sources, first sample, status, reason.

        With splits, only the rows of this one; of several stores with a column ``store``, their
        number, and each row's first sample as a slot of all of them. A view has the rows whose
        samples it has.
        """
        rows = joined_table([each.rows() for each in self._stores], self._stores)
        if self._chosen is None:
            return rows
        return rows[rows.index.isin(self.lines)].reset_index(drop=True)

    @property
    def table_rows(self) -> int:
        """Rows of the manifest, also those without samples; of several, of the longest."""
        return max(each.table_rows for each in self._stores)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """A line for each failed sample: slot, row, key, path, reason and message."""
        failures = joined_table([each.failures() for each in self._stores], self._stores)
        if self._chosen is None:
            return failures
        return failures[failures["sample"].isin(self._chosen)].reset_index(drop=True)

    @cached_property
    def lines(self) -> NDArray[np.int64]:
        """(sample,) int64: the line of each sample's row in the rows tables of its stores."""
        begin, found = 0, []
        for each in self._stores:
            rows = each.rows()["row"].to_numpy()
            found.append(begin + np.searchsorted(rows, each.array("row")))
            begin += len(rows)
        return np.concatenate(found)[self.slots]

    def content_digest(self) -> str:
        """Return a hash of what their stores hold, labels excepted: built anew, it may differ."""
        digests = [each.content_digest() for each in self._stores]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def cells(self, column: str) -> pd.Series[Any]:
        """Return each sample's cell of a column of the rows table, as its ``key``.

        Raises
        ------
        OptionError
            If the rows table has no such column.
        """
        rows = joined_table([each.rows() for each in self._stores], self._stores)
        if column not in rows:
            there = ", ".join(map(str, rows.columns))
            raise OptionError(f"the rows table has no column {column!r}; it has {there}")
        return rows[column].iloc[self.lines].reset_index(drop=True)

    def select(
        self,
        *,
        rows: Sequence[int] | NDArray[np.integer[Any]] | None = None,
        mask: NDArray[np.bool_] | None = None,
        keys: Sequence[str] | None = None,
        classes: Sequence[str | int] | None = None,
    ) -> Samples:
        """Return the samples that meet all that is given, in their order: no pixel is copied.

        Parameters
        ----------
        rows
            Rows of the manifest. Those that have no samples here are passed over; those that
            the table has not are refused.
        mask
            (sample,) bool.
        keys
            Keys of rows, as ``samples.rows["key"]`` has them.
        classes
            Names of classes of the first label column, or their codes.

        Raises
        ------
        OptionError
            If there is no such key or class, or nothing is left.
        """
        chosen = chosen_slots(
            self, Selection(failed="keep", rows=rows, mask=mask, keys=keys, classes=classes)
        )
        columns = {name: each.at(chosen) for name, each in self._columns.items()}
        return Samples(self._stores, self.slots[chosen], columns)

    def with_columns(self, table: Any, on: str = "key") -> Samples:
        """Return the samples with columns of a table as labels; the store is not touched.

        A column called ``label`` takes the place of the first label column. Text becomes
        classes, their names sorted, or in the order of a categorical; whole numbers become
        integers, other numbers float32; an empty cell is -1, or NaN.

        Parameters
        ----------
        table
            A dataframe, or what makes one: a line for each key; lines of other keys are
            passed over.
        on
            The column that says which row a line is of; the rows table has it, too.

        Raises
        ------
        OptionError
            If the key of a sample is missing in the table, or is there twice.

        Examples
        --------
        >>> folds = samples.with_columns(pd.read_csv("folds.csv"))          # doctest: +SKIP
        >>> train = folds.select(mask=folds.array("fold") != 3)             # doctest: +SKIP
        """
        from daskimg.read._tables import column_codes, frame_of  # here: pandas takes its time

        taken = {*self._stores[0].names} - {"label", *self.attributes["columns"]}
        found = column_codes(frame_of(table), on, self.cells(on), taken)
        return Samples(self._stores, self._chosen, self._columns | found)

    def join(self, row: int, *, fill: float = 0) -> NDArray[Any]:
        """Return one row's picture, put together again from its tiles.

        Parameters
        ----------
        row
            Of the manifest.
        fill
            Value of pixels that no tile covers, as where ``Tiles`` dropped the rest at an edge.

        Returns
        -------
        (height, width, channel) array
            As large as the source, of the store's dtype; see ``daskimg.join_tiles``.

        Raises
        ------
        OptionError
            If there is no such row here, it has no samples, some of them failed, or they were
            not only cut out.
        """
        if len(self._stores) > 1:
            raise OptionError(
                "a row is of one store, and these are several; open one by open_store(url)"
            )
        return self._stores[0].joined(row, fill)


_BATCH = 256


def _reopened(
    places: Sequence[tuple[str, str | None]],
    chosen: NDArray[np.int64] | None,
    columns: Mapping[str, Column],
) -> Samples:
    return Samples([Stored(*place) for place in places], chosen, columns)
