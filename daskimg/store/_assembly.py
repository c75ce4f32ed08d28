"""The commit's work on workers: small arrays and the rows table, made from the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskimg.manifest import encode_label
from daskimg.statistics import ChannelSums
from daskimg.store._layout import FAILED, chunk_name, small_arrays, small_chunk
from daskimg.store._ledger import FAILURE, ledger_name, read_entry
from daskimg.store._records import ROWS_PER_FILE, put_table, read_rows, rows_name
from daskimg.store._shard import small_object, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from daskimg.fetch import Folder
    from daskimg.plan import ArraySpec, Brief

_FACTS = ("source_sha256", "source_bytes", "source_width", "source_height", "source_mode")


@dataclass(slots=True)
class Assembled:
    """What a part of the commit wrote and counted; parts add up in any order."""

    objects: dict[str, tuple[int, str]] = field(default_factory=dict)
    sums: ChannelSums | None = None
    failed: int = 0
    failures: list[pa.Table] = field(default_factory=list)

    def add(self, other: Assembled) -> None:
        """Add what another part wrote."""
        self.objects.update(other.objects)
        if other.sums is not None:
            self.sums = other.sums if self.sums is None else self.sums + other.sums
        self.failed += other.failed
        self.failures += other.failures


def sample_spans(brief: Brief) -> list[tuple[int, int]]:
    """Return the spans of samples that are one chunk of each small array."""
    step = small_chunk(brief.layout.samples)
    return [(a, min(a + step, brief.layout.samples)) for a in range(0, brief.layout.samples, step)]


def assemble_samples(folder: Folder, brief: Brief, start: int, stop: int) -> Assembled:
    """Write the chunk of each small array that holds samples ``start`` to ``stop``.

    Shards that begin in the span are accounted for: their objects, sums and failures.
    """
    made = Assembled()
    lines = _ledger_lines(folder, brief, start, stop, made)
    rows = lines["row"].to_numpy()
    first, last = int(rows[0]), int(rows[-1]) + 1
    columns = [label.column for label in brief.labels]
    table = read_rows(folder, first, last, columns) if columns else None
    chunk = small_chunk(brief.layout.samples)
    for spec in small_arrays(brief.targets, brief.labels):
        values = _values(spec, brief, lines, table, rows - first)
        content = small_object(values, chunk)
        name = chunk_name(spec.name, start // chunk, 1 + len(spec.shape))
        folder.put(name, content)
        made.objects[name] = stamp(content)
    return made


def _ledger_lines(
    folder: Folder, brief: Brief, start: int, stop: int, made: Assembled
) -> pa.Table:
    """Return the ledger's lines of some samples, and account for shards that begin there."""
    parts = []
    for shard in range(start // brief.layout.shard, -(-stop // brief.layout.shard)):
        content = folder.read(ledger_name(shard))
        entry, lines = read_entry(content)
        first = brief.layout.span(shard)[0]
        if first >= start:
            made.add(Assembled(entry.objects, ChannelSums.from_json(entry.sums), entry.failed))
            made.objects[ledger_name(shard)] = stamp(content)
        low, high = max(start - first, 0), min(stop - first, entry.samples)
        parts.append(lines.slice(low, high - low))
    return pa.concat_tables(parts)


def _values(
    spec: ArraySpec,
    brief: Brief,
    lines: pa.Table,
    table: pa.Table | None,
    places: NDArray[np.int64],
) -> NDArray[Any]:
    """Return a small array's values: from the ledger, or a label of the rows table."""
    for label in brief.labels:
        if label.array == spec.name:
            assert table is not None
            return np.asarray(encode_label(_column(table, label.column), label)[places])
    if spec.name == "label":
        return np.full(len(lines), -1, np.int32)
    column = lines[spec.name].combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.flatten().to_numpy()).reshape(-1, *spec.shape)
    return np.asarray(column.to_numpy(zero_copy_only=False), spec.dtype)


def _column(table: pa.Table, name: str) -> pd.Series[Any]:
    """Return a column with whole numbers whole: beside empties they would become floats."""
    column: pd.Series[Any] = table[name].to_pandas(integer_object_nulls=True)
    return column


def assemble_rows(folder: Folder, brief: Brief, number: int) -> Assembled:
    """Write a file of the finished rows table: each manifest row, and what became of it."""
    start = number * ROWS_PER_FILE
    stop = min(brief.rows, start + ROWS_PER_FILE)
    table = read_rows(folder, start, stop)
    lines = _lines_of_rows(folder, brief, start, stop)
    firsts = lines.filter(pc.equal(lines["part"], 0))
    table = table.append_column("first_sample", firsts["sample"])
    table = table.append_column("samples", pa.array([brief.parts] * len(table), pa.int32()))
    for name in ("status", "reason", "message", *_FACTS):
        table = table.append_column(name, firsts[name])
    content = put_table(folder, rows_name(number), table)
    return Assembled(
        {rows_name(number): stamp(content)},
        failures=list(_failures(table, lines)),
    )


def _lines_of_rows(folder: Folder, brief: Brief, start: int, stop: int) -> pa.Table:
    low, high = start * brief.parts, min(stop * brief.parts, brief.layout.samples)
    return _ledger_lines(folder, brief, low, high, Assembled())


def _failures(table: pa.Table, lines: pa.Table) -> Iterator[pa.Table]:
    failed = lines.filter(pc.equal(lines["status"], FAILED))
    if len(failed):
        places = pc.subtract(failed["row"], table["row"][0])
        named = table.select(["key", "path"]).take(places)
        kept = failed.select(FAILURE)
        yield kept.append_column("key", named["key"]).append_column("path", named["path"])
