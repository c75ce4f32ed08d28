"""Reading a finished store: samples in table order, as NumPy. Needs no Dask and no decoder."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg import store
from daskimg.errors import OptionError
from daskimg.read._epoch import Epoch
from daskimg.read._options import ReadOptions
from daskimg.read._sources import Arrays
from daskimg.tiles import join_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from daskimg.export import Export, ExportOptions
    from daskimg.sheets import Sheet


class Samples:
    """A finished store as a sequence of (image, label) pairs in table order.

    Every slot is there, also those of pictures that failed: zeros, with ``status`` 2. A slot
    keeps its number for ever.

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
    image
        The Zarr array (sample, height, width, channel): slice it like NumPy.
    attributes
        What the store says of itself: recipe, columns, classes, versions; samples, failed, mean
        and std of this split.
    """

    def __init__(self, url: str, split: str | None = None) -> None:
        self._committed = store.open_committed(url)
        self.url = self._committed.folder.url
        self.split = _split_of(self._committed, split)
        self.attributes = self._committed.attributes
        self._group: Any = self._committed.group
        if self.split is not None:
            self._group = self._group[self.split]
            self.attributes = self.attributes | self.attributes["splits"][self.split]
        self.image: Any = self._group["image"]
        self._arrays = Arrays(self._committed, self.split)

    def __reduce__(self) -> tuple[type[Samples], tuple[str, str | None]]:
        """Travel as the URL: each process opens its own connection."""
        return Samples, (self.url, self.split)

    def __len__(self) -> int:
        return int(self.image.shape[0])

    def __getitem__(self, index: int | np.integer[Any] | slice) -> tuple[NDArray[Any], Any]:
        """Return a slot's (height, width, channel) image and its label; or those of a slice."""
        if isinstance(index, slice):
            return np.asarray(self.image[index]), self.labels[index]
        place = range(len(self))[index]  # negative indices, and IndexError behind the end
        return np.asarray(self.image[place]), self.labels[place]

    def __iter__(self) -> Iterator[tuple[NDArray[Any], Any]]:
        for batch in self.batches(_BATCH, failed="keep"):
            yield from zip(batch.image, batch.label, strict=True)

    def __repr__(self) -> str:
        shape = " x ".join(str(length) for length in self.image.shape[1:])
        counts = f"{len(self):,} of {shape} {self.image.dtype}"
        place = repr(self.url) + (f", {self.split!r}" if self.split else "")
        return f"Samples({place}): {counts}, {self.attributes['failed']:,} failed"

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
        found: Any = self._group[name]
        return np.asarray(found[...])

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the arrays that go with the images: keypoint, visible, heatmap, mask ..."""
        known = {"image", "status", "row", "part", "affine", "label", *self.attributes["columns"]}
        return tuple(sorted(name for name in self._group.array_keys() if name not in known))

    def target(self, name: str) -> Any:
        """Return the Zarr array of a target, (sample, ...): slice it like NumPy."""
        if name not in self.targets:
            there = ", ".join(self.targets) or "none"
            raise OptionError(f"the store has no target {name!r}; it has {there}")
        return self._group[name]

    def require(self, names: Sequence[str]) -> None:
        """Refuse names that no array of the store has.

        Raises
        ------
        OptionError
            Naming the arrays there are.
        """
        there = sorted(self._group.array_keys())
        for name in names:
            if name not in there:
                raise OptionError(f"the store has no array {name!r}; it has {', '.join(there)}")

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The manifest with what became of each row: sources, first sample, status, reason.

        With splits, only the rows of this one.
        """
        rows: pd.DataFrame = self._committed.rows().to_pandas()
        return self._own(rows)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """A line for each failed sample: slot, row, key, path, reason and message."""
        failures: pd.DataFrame = self._committed.failures().to_pandas()
        return self._own(failures)

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
        line = self._line_of(row)
        first, stop = int(line["first_sample"]), int(line["first_sample"] + line["samples"])
        failed = np.flatnonzero(np.asarray(self._group["status"][first:stop]) != store.OK)
        if len(failed):
            raise OptionError(
                f"row {row}: {len(failed):,} of its {stop - first:,} tiles failed, part "
                f"{failed[0]} first; samples.failures tells why, and join_tiles joins the others"
            )
        return join_tiles(
            np.asarray(self.image[first:stop]),
            np.asarray(self._group["affine"][first:stop]),
            height=int(line["source_height"]),
            width=int(line["source_width"]),
            fill=fill,
        )

    def _line_of(self, row: int) -> pd.Series[Any]:
        """Return a row's line of the rows table, or refuse one that has no samples here."""
        rows = store.read_plan(self._committed.folder).rows
        if not 0 <= row < rows:
            raise OptionError(
                f"the table has {rows:,} rows, and no row {row}; try 0 to {rows - 1}"
            )
        line = self._committed.rows_at(np.array([row])).iloc[0]
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

    def _own(self, lines: pd.DataFrame) -> pd.DataFrame:
        if self.split is None:
            return lines
        return lines[lines["split"] == self.split].reset_index(drop=True)

    def batches(
        self,
        batch_size: int,
        options: ReadOptions | None = None,
        *,
        state: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Epoch:
        """Return the batches of one epoch: an iterator that can be left and taken up.

        In table order and without the samples that failed, unless told otherwise.

        Parameters
        ----------
        batch_size
            Samples a batch, of all ranks together: a multiple of their number. So the batches
            are the same for any number of ranks, each of which reads its equal part.
        options
            How to read.
        state
            Of ``Epoch.state_dict``: go on there, by its seed and epoch.
        **settings
            Fields of ``ReadOptions``; those of ``options`` give way to them.

        Raises
        ------
        OptionError
            If a setting is out of range, or does not fit the store.
        StoreError
            When it is met: if a shard is missing or a chunk is damaged.

        Examples
        --------
        >>> samples = open_store("out.zarr")                                # doctest: +SKIP
        >>> for batch in samples.batches(256, shuffle=True, seed=1, epoch=3, dtype="float32"):
        ...     step(batch.image, batch.label)                              # doctest: +SKIP
        """
        known = [each.name for each in fields(ReadOptions)]
        for name in settings:
            if name not in known:
                raise OptionError(f"there is no option {name!r}; there are {', '.join(known)}")
        epoch = Epoch(
            self, self._arrays, batch_size, replace(options or ReadOptions(), **settings)
        )
        if state is not None:
            epoch.load_state_dict(state)
        return epoch

    def show(self, samples: int | Sequence[int] = 24) -> Sheet:
        """Return pictures of some samples, which a notebook draws and ``save`` writes as PNG.

        Masks and joints are drawn over them, heatmaps beside them; what failed is grey.

        Parameters
        ----------
        samples
            How many, spread over all; or which.

        Examples
        --------
        >>> samples.show(12).save("samples.png")                            # doctest: +SKIP
        """
        from daskimg.read._display import sheet_of  # here: drawing needs Pillow, reading does not

        return sheet_of(self, samples)

    def _repr_html_(self) -> str:
        from daskimg.read._display import page_of

        return page_of(self)

    def export(self, url: str, options: ExportOptions | None = None, **settings: Any) -> Export:
        """Write the samples as files of another format; see ``daskimg.export_samples``.

        Examples
        --------
        >>> samples.export("tars", format="webdataset", encoding="jpeg")    # doctest: +SKIP
        """
        from daskimg.export import export_samples  # here: encoding needs Pillow, reading does not

        return export_samples(self, url, options, **settings)

    def to_dask(self) -> Any:
        """Return the images as a Dask array, a block a shard; needs Dask."""
        import dask.array

        block = self.image.shards or self.image.chunks
        name = f"daskimg-{self.url}-{self.split or ''}"
        return dask.array.from_array(self.image, chunks=block, name=name)

    def to_xarray(self) -> Any:
        """Return the store as an ``xarray.Dataset``, opened lazily; needs xarray."""
        try:
            import xarray
        except ImportError:
            raise OptionError("to_xarray needs xarray: pip install 'daskimg[xarray]'") from None
        return xarray.open_zarr(self._committed.group.store, group=self.split)


_BATCH = 256


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


def splits_of(url: str) -> tuple[str, ...]:
    """Return the names of a store's splits; none, if its arrays are in its root.

    Raises
    ------
    StoreError
        If there is no finished store.
    """
    return store.open_committed(str(url)).splits


def open_store(url: str, split: str | None = None) -> Samples:
    """Open a finished store for reading.

    Parameters
    ----------
    url
        A local path or a URL.
    split
        Which split, of a store that has splits.

    Raises
    ------
    StoreError
        If there is none, it is not finished, or it is not daskimg's.
    OptionError
        If there is no such split, or the store has splits and none is named.
    """
    return Samples(str(url), split)
