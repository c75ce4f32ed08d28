"""One shard, from paths to written bytes. No Dask here: callable in a test or a debugger."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from daskimg import fetch, store
from daskimg.errors import SampleError, StoreError, TransformError
from daskimg.manifest import read_pictures
from daskimg.plan import STAGED
from daskimg.recipe import Row
from daskimg.statistics import ChannelSums, channel_sums
from daskimg.targets import finished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from daskimg.decode import Source
    from daskimg.plan import ArraySpec, Brief, Group, Plan, ShardRows
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


def read_shard_rows(span: ShardRows, brief: Brief) -> pd.DataFrame:
    """Return the manifest rows whose samples lie in a shard.

    Columns: ``row``, ``path``, ``shard``; where their samples lie, as ``daskimg.plan.STAGED``;
    where picture bytes are; and the cells that the recipe reads.
    """
    number, group = brief.group_of(span.shard)
    columns = ["row", "path", *STAGED, *(stored for _, stored in brief.columns)]
    if brief.bytes_column is not None:
        columns += ["bytes_file", "bytes_group", "bytes_index"]
    table = store.read_rows(fetch.open_folder(brief.url), span.first, span.stop, columns)
    first, samples = (table[name].to_numpy() for name in STAGED[1:3])
    start, stop = group.span(span.shard)
    mine = (table[STAGED[0]].to_numpy() == number) & (samples > 0)
    mine &= (first < stop) & (first + samples > start)
    rows: pd.DataFrame = table.filter(pa.array(mine)).to_pandas()
    rows["shard"] = span.shard
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


class Planned(NamedTuple):
    """A row, and what was planned of it: where its samples lie, and its picture's size."""

    row: Row
    first: int
    samples: int
    height: int
    width: int

    @property
    def places(self) -> range:
        """The row's samples, in its group."""
        return range(self.first, self.first + self.samples)


class _Work:
    """A shard being built: its buffers, and a line of the ledger for each sample."""

    def __init__(self, brief: Brief, shard: int) -> None:
        self._brief = brief
        self._shard = shard
        self._group = brief.group_of(shard)[1]
        self._start, self._stop = self._group.span(shard)
        count = self._stop - self._start
        self._buffers = {
            spec.name: store.ShardBuffer(spec, self._group.layout, count)
            for spec in self._group.sharded
        }
        self._lines = _Lines(self._group, self._start, count)

    def run(self, rows: pd.DataFrame, folder: fetch.Folder) -> store.Entry:
        planned = planned_rows(rows, self._brief)
        self._check_rows(planned)
        contents = read_contents(rows, self._brief)
        for each, content in zip(planned, contents, strict=True):
            self._build(each, content)
        objects = self._put(folder)
        entry = self._entry(objects)
        self._check_run(folder)
        store.write_entry(folder, entry, self._lines.table())
        return entry

    def _check_rows(self, planned: list[Planned]) -> None:
        """Refuse rows that do not fill the shard, each slot once and in order."""
        at = self._start
        for each in planned:
            places = self._places(each)
            if places.start != at:
                break
            at = places.stop
        if at != self._stop:
            raise StoreError(f"shard {self._shard} was handed other rows than its own")

    def _places(self, each: Planned) -> range:
        return range(max(each.first, self._start), min(each.places.stop, self._stop))

    def _build(self, each: Planned, content: Content | SampleError) -> None:
        places = self._places(each)
        if isinstance(content, SampleError):
            self._lines.failed(places, each, content)
            return
        self._lines.source(places, content)
        try:
            parts = range(places.start - each.first, places.stop - each.first)
            samples, source = make_samples(self._brief, self._group, each, content, parts)
        except SampleError as error:
            self._lines.failed(places, each, error)
            return
        for place, sample in zip(places, samples, strict=True):
            self._fill(place, each, sample, source)

    def _fill(self, place: int, each: Planned, sample: Sample, source: Source) -> None:
        for spec in self._group.sharded:
            slot = self._buffers[spec.name].slot(place - self._start)
            write_entry_of(sample, spec, slot)
        self._lines.made(place, each, sample, source)

    def _put(self, folder: fetch.Folder) -> dict[str, tuple[int, str]]:
        expected = dict(self._brief.expected)
        objects = {}
        index = self._shard - self._group.first_shard
        for spec in self._group.sharded:
            path = self._group.path(spec.name)
            name = store.chunk_name(path, index, 1 + len(spec.shape))
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
        height, width, _ = self._group.arrays[0].shape
        return replace(total, count=total.count - failed * height * width)


class _Lines:
    """The ledger's columns for one shard, filled in any order, a place a sample."""

    def __init__(self, group: Group, start: int, count: int) -> None:
        self._schema = store.ledger_schema(group.targets)
        self._samples = range(start, start + count)
        self.reduced = 0
        self.row = [0] * count
        self.part = [0] * count
        self.status = [store.PENDING] * count
        self.reason = [""] * count
        self.message = [""] * count
        self.source_sha256 = [""] * count
        self.source_bytes = [0] * count
        self.source_width = [0] * count
        self.source_height = [0] * count
        self.source_mode = [""] * count
        self._small = {
            spec.name: np.zeros((count, *spec.shape), spec.dtype) for spec in group.targets
        }

    def source(self, places: range, content: Content) -> None:
        """Note the file that was read."""
        digest = store.content_hash(content.picture)
        for place in places:
            self.source_sha256[place - self._samples.start] = digest
            self.source_bytes[place - self._samples.start] = len(content.picture)

    def failed(self, places: range, each: Planned, error: SampleError) -> None:
        """Note that a row failed: its slots stay, as zeros."""
        for place in places:
            i = self._named(place, each)
            self.status[i] = store.FAILED
            self.reason[i] = error.reason
            self.message[i] = error.message

    def made(self, place: int, each: Planned, sample: Sample, source: Source) -> None:
        """Note a finished sample."""
        i = self._named(place, each)
        self.status[i] = store.OK
        self.source_width[i] = source.width
        self.source_height[i] = source.height
        self.source_mode[i] = source.mode
        self.reduced += source.reduced
        for name, column in self._small.items():
            column[i] = entry_of(sample, name)

    def _named(self, place: int, each: Planned) -> int:
        """Note whose sample a place holds, and return its line."""
        i = place - self._samples.start
        self.row[i] = each.row.number
        self.part[i] = place - each.first
        return i

    def table(self) -> pa.Table:
        """Return the lines in the ledger's schema."""
        columns: dict[str, Any] = {"sample": np.array(self._samples)}
        for name in self._schema.names:
            if name in self._small:
                flat = pa.array(self._small[name].reshape(-1))
                length = self._schema.field(name).type.list_size
                columns[name] = pa.FixedSizeListArray.from_arrays(flat, length)
            elif name not in columns:
                columns[name] = getattr(self, name)
        return pa.table(columns, schema=self._schema)


def planned_rows(rows: pd.DataFrame, brief: Brief) -> list[Planned]:
    """Return rows as ``read_shard_rows`` gives them, one by one."""
    names = [column for column, _ in brief.columns]
    columns = (rows[stored].tolist() for _, stored in brief.columns)
    cells = zip(*columns, strict=True) if names else iter([()] * len(rows))
    facts = zip(*(rows[name].tolist() for name in STAGED[1:]), strict=True)
    found = zip(rows["row"].tolist(), rows["path"].tolist(), cells, facts, strict=True)
    return [
        Planned(Row(number, path, dict(zip(names, own, strict=True))), *fact)
        for number, path, own, fact in found
    ]


class Content(NamedTuple):
    """What a row points at: the picture's file, and those of its targets by column."""

    picture: bytes
    files: dict[str, bytes]


def read_contents(rows: pd.DataFrame, brief: Brief) -> Iterator[Content | SampleError]:
    """Yield what each row points at, in order, or what is wrong with it."""
    limit = brief.groups[0].recipe.decode.max_bytes
    if brief.bytes_column is not None:
        pictures = read_pictures(rows, brief.bytes_column)
        found: Any = (fetch.limited(content, limit) for content in pictures)
    else:
        found = _read_paths(rows["path"].tolist(), brief, limit)
    stored = dict(brief.columns)
    names = brief.groups[0].recipe.file_columns
    others = [_read_paths(rows[stored[name]].tolist(), brief, limit) for name in names]
    for content, *files in zip(found, *others, strict=True):
        faults = [each for each in (content, *files) if isinstance(each, SampleError)]
        yield faults[0] if faults else Content(content, dict(zip(names, files, strict=True)))


def _read_paths(
    paths: list[str | None], brief: Brief, limit: int
) -> Iterator[bytes | SampleError]:
    places = (fetch.join(brief.root, path) if path else "" for path in paths)
    return fetch.read_ahead(places, limit)


def make_samples(
    brief: Brief, group: Group, each: Planned, content: Content, parts: range
) -> tuple[list[Sample], Source]:
    """Return some of a row's samples, checked to be what the recipe's ``resolve`` promised."""
    recipe, row = group.recipe, replace(each.row, files=content.files)
    image, source = recipe.decoded(content.picture, row)
    if brief.measured:
        _check_size(each, source)
    samples = recipe.samples(image, source, row, parts)
    if len(samples) != len(parts):
        raise _broken_promise(row, f"{len(samples)} samples, and promised {len(parts)}")
    for sample in samples:
        for spec in group.arrays:
            found = _made_of(sample, spec)
            if found != (spec.shape, spec.dtype):
                raise _broken_promise(
                    row, f"{spec.name} of {found}, and promised {(spec.shape, spec.dtype)}"
                )
    return samples, source


def _check_size(each: Planned, source: Source) -> None:
    """Refuse a picture that is not as large as its header, or the table, said."""
    if not each.height:
        raise SampleError("size", "its header could not be read when the store was planned")
    if (each.height, each.width) != (source.height, source.width):
        raise SampleError(
            "size",
            f"{source.width} x {source.height} pixels, and {each.width} x {each.height} declared",
        )


def write_entry_of(sample: Sample, spec: ArraySpec, slot: NDArray[Any]) -> None:
    """Copy what a sample has for a sharded array into its slot there."""
    if spec.name == "image":
        sample.image.write(slot)
    else:
        slot[...] = entry_of(sample, spec.name)


def entry_of(sample: Sample, name: str) -> NDArray[Any]:
    """Return what a sample has for an array other than its image."""
    return sample.affine if name == "affine" else finished(sample.targets[name])


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
    rows = _with_places(plan)
    tried = source_bytes = 0
    message = ""
    reasons: Counter[str] = Counter()
    planned = planned_rows(rows, brief)
    groups = rows[STAGED[0]].tolist()
    for each, number, content in zip(planned, groups, read_contents(rows, brief), strict=True):
        tried += 1
        try:
            source_bytes += _attempt(brief, brief.groups[number], each, content)
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


def _with_places(plan: Plan) -> pd.DataFrame:
    """Return the rows to be tried: those of the sample that give one."""
    rows = plan.facts.sample.copy()
    places = [plan.expansion.places(row, row + 1) for row in rows["row"].tolist()]
    for i, name in enumerate(STAGED):
        rows[name] = [each[i][0] for each in places]
    return rows[rows[STAGED[2]] > 0]


def _attempt(brief: Brief, group: Group, each: Planned, content: Content | SampleError) -> int:
    if isinstance(content, SampleError):
        raise content
    make_samples(brief, group, each, content, range(min(1, each.samples)))
    return len(content.picture)
