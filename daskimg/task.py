"""One shard, from paths to written bytes. No Dask here: callable in a test or a debugger."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from daskimg import fetch, store
from daskimg.errors import SampleError, StoreError, TransformError
from daskimg.manifest import read_pictures
from daskimg.recipe import Row
from daskimg.statistics import ChannelSums, channel_sums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from daskimg.decode import Source
    from daskimg.plan import ArraySpec, Brief, Plan
    from daskimg.transforms import Sample

REPORT = pd.DataFrame(
    {
        "shard": pd.Series([], dtype="int64"),
        "samples": pd.Series([], dtype="int64"),
        "failed": pd.Series([], dtype="int64"),
        "reduced": pd.Series([], dtype="int64"),
        "source_bytes": pd.Series([], dtype="int64"),
        "stored_bytes": pd.Series([], dtype="int64"),
        "resumed": pd.Series([], dtype="bool"),
        "reasons": pd.Series([], dtype="object"),
    }
)
"""What a task returns: one line of a few bytes. Its schema is the ``meta`` of the graph."""


ROWS = pd.DataFrame(
    {
        "row": pd.Series([], dtype="int64"),
        "path": pd.Series([], dtype="object"),
        "shard": pd.Series([], dtype="int64"),
    }
)
"""The rows of a shard, as far as the graph needs to know them."""


def read_shard_rows(shard: int, brief: Brief) -> pd.DataFrame:
    """Return the manifest rows whose samples lie in a shard: ``row``, where it is, ``shard``."""
    first, last = brief.rows_of(*brief.layout.span(shard))
    columns = ["row", "path"]
    if brief.bytes_column is not None:
        columns += ["bytes_file", "bytes_group", "bytes_index"]
    table = store.read_rows(fetch.open_folder(brief.url), first, last, columns)
    rows: pd.DataFrame = table.to_pandas()
    rows["shard"] = shard
    return rows


def run_task(rows: pd.DataFrame, brief: Brief) -> pd.DataFrame:
    """Build one shard and report on it in one line.

    Idempotent: a retry overwrites the shard with the same bytes; a shard that is in the
    ledger is left alone. Pixels stay here; only the report travels.

    Parameters
    ----------
    rows
        What ``read_shard_rows`` returned.
    brief
        What the run does.

    Returns
    -------
    DataFrame
        A line with the columns of ``REPORT``.

    Raises
    ------
    TransportError
        If a source or the store could not be reached: another try may work.
    TransformError
        If a transform raised: a bug, with its row named.
    """
    shard = int(rows["shard"].iloc[0])
    folder = fetch.open_folder(brief.url)
    entry = store.find_entry(folder, shard)
    if entry and brief.retry and {"missing", "unreadable"} & set(entry.reasons):
        entry = None  # the root has changed since: they may be there now
    resumed = entry is not None
    if entry is None:
        entry = _Work(brief, shard).run(rows, folder)
    return _report(entry, resumed)


def _report(entry: store.Entry, resumed: bool) -> pd.DataFrame:
    line = {
        "shard": entry.shard,
        "samples": entry.samples,
        "failed": entry.failed,
        "reduced": entry.reduced,
        "source_bytes": entry.source_bytes,
        "stored_bytes": sum(size for size, _ in entry.objects.values()),
        "resumed": resumed,
        "reasons": json.dumps(entry.reasons),
    }
    return pd.DataFrame([line]).astype(REPORT.dtypes)


class _Work:
    """A shard being built: its buffers, and a line of the ledger for each sample."""

    def __init__(self, brief: Brief, shard: int) -> None:
        self._brief = brief
        self._shard = shard
        self._start, self._stop = brief.layout.span(shard)
        count = self._stop - self._start
        self._buffers = {
            spec.name: store.ShardBuffer(spec, brief.layout, count) for spec in brief.sharded
        }
        self._lines = _Lines(brief, self._start, count)

    def run(self, rows: pd.DataFrame, folder: fetch.Folder) -> store.Entry:
        paths = rows["path"].tolist()
        numbers = rows["row"].tolist()
        if numbers != list(range(*self._brief.rows_of(self._start, self._stop))):
            raise StoreError(f"shard {self._shard} was handed other rows than its own")
        contents = read_contents(rows, self._brief)
        for number, path, content in zip(numbers, paths, contents, strict=True):
            self._build(Row(number, path), content)
        objects = self._put(folder)
        entry = self._entry(objects)
        self._check_run(folder)
        store.write_entry(folder, entry, self._lines.table())
        return entry

    def _build(self, row: Row, content: bytes | SampleError) -> None:
        first = row.number * self._brief.parts
        places = range(max(first, self._start), min(first + self._brief.parts, self._stop))
        if isinstance(content, SampleError):
            self._lines.failed(places, content)
            return
        self._lines.source(places, content)
        try:
            samples, source = make_samples(self._brief, row, content)
        except SampleError as error:
            self._lines.failed(places, error)
            return
        for place in places:
            self._fill(place - self._start, samples[place - first], source)

    def _fill(self, place: int, sample: Sample, source: Source) -> None:
        for spec in self._brief.sharded:
            write_entry_of(sample, spec, self._buffers[spec.name].slot(place))
        self._lines.made(place, sample, source)

    def _put(self, folder: fetch.Folder) -> dict[str, tuple[int, str]]:
        expected = dict(self._brief.expected)
        objects = {}
        for spec in self._brief.sharded:
            name = store.chunk_name(spec.name, self._shard, 1 + len(spec.shape))
            content = self._buffers[spec.name].finish()
            size, digest = store.stamp(content)
            if expected.get(name, digest) != digest:
                raise StoreError(
                    f"{name} comes out otherwise than it was committed: its sources have changed "
                    f"or are gone; bring them back, or build anew with --overwrite"
                )
            self._check_run(folder)
            folder.put(name, content)
            objects[name] = size, digest
        return objects

    def _check_run(self, folder: fetch.Folder) -> None:
        """Keep a straggler of an overwritten run from writing into the new one's store."""
        if store.read_plan(folder).run != self._brief.run:
            raise StoreError(f"another run has taken over {folder.url}; this one writes no more")

    def _entry(self, objects: dict[str, tuple[int, str]]) -> store.Entry:
        reasons = Counter(reason for reason in self._lines.reason if reason)
        failed = sum(reasons.values())
        return store.Entry(
            shard=self._shard,
            samples=self._stop - self._start,
            failed=failed,
            reduced=self._lines.reduced,
            source_bytes=sum(self._lines.source_bytes),
            reasons=dict(sorted(reasons.items())),
            objects=objects,
            sums=self._sums(failed).to_json(),
        )

    def _sums(self, failed: int) -> ChannelSums:
        """Return the sums of the good samples: the failed ones' zeros add only to the count."""
        chunks = self._buffers["image"].chunks()
        total = None
        for chunk in chunks:
            sums = channel_sums(chunk, compiled=self._brief.compiled)
            total = sums if total is None else total + sums
        assert total is not None
        height, width, _ = self._brief.arrays[0].shape
        return replace(total, count=total.count - failed * height * width)


class _Lines:
    """The ledger's columns for one shard, filled in any order, a place a sample."""

    def __init__(self, brief: Brief, start: int, count: int) -> None:
        self._schema = store.ledger_schema(brief.targets)
        self._samples = range(start, start + count)
        self._parts = brief.parts
        self.reduced = 0
        self.status = [store.PENDING] * count
        self.reason = [""] * count
        self.message = [""] * count
        self.source_sha256 = [""] * count
        self.source_bytes = [0] * count
        self.source_width = [0] * count
        self.source_height = [0] * count
        self.source_mode = [""] * count
        self._small = {
            spec.name: np.zeros((count, *spec.shape), spec.dtype) for spec in brief.targets
        }

    def source(self, places: range, content: bytes) -> None:
        """Note the file that was read."""
        digest = store.content_hash(content)
        for place in places:
            self.source_sha256[place - self._samples.start] = digest
            self.source_bytes[place - self._samples.start] = len(content)

    def failed(self, places: range, error: SampleError) -> None:
        """Note that a row failed: its slots stay, as zeros."""
        for place in places:
            i = place - self._samples.start
            self.status[i] = store.FAILED
            self.reason[i] = error.reason
            self.message[i] = error.message

    def made(self, place: int, sample: Sample, source: Source) -> None:
        """Note a finished sample."""
        self.status[place] = store.OK
        self.source_width[place] = source.width
        self.source_height[place] = source.height
        self.source_mode[place] = source.mode
        self.reduced += source.reduced
        for name, column in self._small.items():
            column[place] = sample.affine if name == "affine" else sample.targets[name].array

    def table(self) -> pa.Table:
        """Return the lines in the ledger's schema."""
        samples = np.arange(self._samples.start, self._samples.stop)
        columns: dict[str, Any] = {
            "sample": samples,
            "row": samples // self._parts,
            "part": samples % self._parts,
        }
        for name in self._schema.names:
            if name in self._small:
                flat = pa.array(self._small[name].reshape(-1))
                length = self._schema.field(name).type.list_size
                columns[name] = pa.FixedSizeListArray.from_arrays(flat, length)
            elif name not in columns:
                columns[name] = getattr(self, name)
        return pa.table(columns, schema=self._schema)


def read_contents(rows: pd.DataFrame, brief: Brief) -> Iterator[bytes | SampleError]:
    """Yield what each row points at, in order: bytes, or what is wrong with the file."""
    if brief.bytes_column is not None:
        found = read_pictures(rows, brief.bytes_column)
        return (fetch.limited(content, brief.recipe.decode.max_bytes) for content in found)
    paths = rows["path"].tolist()
    places = (fetch.join(brief.root, path) if path else "" for path in paths)
    return fetch.read_ahead(places, brief.recipe.decode.max_bytes)


def make_samples(brief: Brief, row: Row, content: bytes) -> tuple[list[Sample], Source]:
    """Return a picture's samples, checked to be what the recipe's ``resolve`` promised."""
    samples, source = brief.recipe.apply(content, row)
    if len(samples) != brief.parts:
        raise _broken_promise(row, f"{len(samples)} samples, and promised {brief.parts}")
    for sample in samples:
        for spec in brief.arrays:
            found = _made_of(sample, spec)
            if found != (spec.shape, spec.dtype):
                raise _broken_promise(
                    row, f"{spec.name} of {found}, and promised {(spec.shape, spec.dtype)}"
                )
    return samples, source


def write_entry_of(sample: Sample, spec: ArraySpec, slot: NDArray[Any]) -> None:
    """Copy what a sample has for a sharded array into its slot there."""
    if spec.name == "image":
        sample.image.write(slot)
    else:
        slot[...] = sample.targets[spec.name].array


def _made_of(sample: Sample, spec: ArraySpec) -> tuple[tuple[int, ...], str] | None:
    """Return the shape and dtype of what a sample has for an array."""
    if spec.name == "image":
        image = sample.image
        return (image.height, image.width, image.channels), image.dtype
    if spec.name == "affine":
        return sample.affine.shape, spec.dtype  # computed in float64, stored in float32
    target = sample.targets.get(spec.name)
    return None if target is None else (target.array.shape, target.array.dtype.name)


def _broken_promise(row: Row, made: str) -> TransformError:
    return TransformError("the recipe", row.number, row.path, f"it made {made}")


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of decoding some rows before the build.

    Attributes
    ----------
    tried, failed
        Rows tried; rows that failed.
    source_bytes
        Bytes of those that worked.
    first, message
        The first resolved path, and the first failure's message, for advice.
    reasons
        Failures by reason.
    """

    tried: int
    failed: int
    source_bytes: int
    first: str
    message: str
    reasons: dict[str, int] = field(default_factory=dict)


def try_rows(plan: Plan, *, thorough: bool) -> Trial:
    """Fetch and decode a sample of the rows; nothing is written.

    Parameters
    ----------
    plan
        Its ``facts.sample`` are the rows.
    thorough
        Try them all; otherwise stop at the first that works, which is all a build asks.

    Raises
    ------
    TransportError, TransformError
        As a task would.
    """
    brief = plan.brief(run="")
    rows = plan.facts.sample
    tried = source_bytes = 0
    message = ""
    reasons: Counter[str] = Counter()
    contents = read_contents(rows, brief)
    for number, path, content in zip(rows["row"], rows["path"], contents, strict=True):
        tried += 1
        try:
            source_bytes += len(_attempt(brief, Row(int(number), path), content))
        except SampleError as error:
            reasons[error.reason] += 1
            message = message or error.message
            continue
        if not thorough:
            break
    first = rows["path"].iloc[0]
    return Trial(
        tried=tried,
        failed=reasons.total(),
        source_bytes=source_bytes,
        first=plan.manifest.resolve(first) if first else "(an empty cell)",
        message=message,
        reasons=dict(reasons.most_common()),
    )


def _attempt(brief: Brief, row: Row, content: bytes | SampleError) -> bytes:
    if isinstance(content, SampleError):
        raise content
    make_samples(brief, row, content)
    return content
