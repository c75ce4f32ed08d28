"""The commit's work on workers: small arrays and the rows table, made from the ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskimg.errors import StoreError
from daskimg.manifest import SEALED, encode_label
from daskimg.plan import STAGED
from daskimg.statistics import ChannelSums
from daskimg.store._claim import Claim
from daskimg.store._layout import FAILED, OK, chunk_name
from daskimg.store._ledger import FAILURE, ledger_name, ledger_schema, read_entry
from daskimg.store._records import ROWS_PER_FILE, read_rows, rows_name, table_content
from daskimg.store._shard import checksum, small_object, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from daskimg.fetch import Folder
    from daskimg.plan import ArraySpec, Brief, Group
    from daskimg.store._ledger import Entry

    Held = Mapping[int, bytes]

_FACTS = ("source_sha256", "source_bytes", "source_width", "source_height", "source_mode")
NOTHING: Held = {}
_OUTCOME = ("status", "reason", "message", *_FACTS)


@dataclass(slots=True)
class Assembled:
    """What a part of the commit wrote and counted; parts add up in any order.

    ``sums`` and ``failed`` are by the name of the group.
    """

    objects: dict[str, tuple[int, str]] = field(default_factory=dict)
    crc32c: dict[str, str] = field(default_factory=dict)
    sums: dict[str, ChannelSums] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    failures: list[pa.Table] = field(default_factory=list)

    def add(self, other: Assembled) -> None:
        """Add what another part wrote."""
        self.objects.update(other.objects)
        self.crc32c.update(other.crc32c)
        for name, sums in other.sums.items():
            self.sums[name] = self.sums[name] + sums if name in self.sums else sums
        self.failed += other.failed
        self.failures += other.failures

    def note(self, name: str, content: bytes) -> None:
        """Take an object into account that was written, or read whole."""
        self.objects[name] = stamp(content)
        self.crc32c[name] = checksum(content)


def sample_spans(brief: Brief) -> list[tuple[int, int, int]]:
    """Return (group, start, stop): samples that are one chunk of each small array of a group."""
    return [
        (number, start, min(start + group.small_chunk, group.layout.samples))
        for number, group in enumerate(brief.groups)
        for start in range(0, group.layout.samples, group.small_chunk)
    ]


def assemble_samples(
    folder: Folder, brief: Brief, span: tuple[int, int, int], held: Held = NOTHING
) -> Assembled:
    """Write the chunk of each small array that holds a span of a group's samples.

    Shards that begin in the span are accounted for: their objects, sums and failures.

    Parameters
    ----------
    folder, brief
        The store, and what the run does.
    span
        (group, start, stop), as ``sample_spans`` has them.
    held
        Entries of the ledger by shard, which need not be read.
    """
    claim = Claim(folder, brief.run)
    claim.look()
    number, start, stop = span
    group = brief.groups[number]
    made = Assembled()
    lines = _ledger_lines(Ledger(folder, brief, held), group, start, stop, made)
    labels = _labels(folder, brief, lines["row"].to_numpy())
    for spec in group.small:
        values = labels[spec.name] if spec.name in labels else _values(spec, lines)
        content = small_object(values, group.small_chunk)
        name = chunk_name(group.path(spec.name), start // group.small_chunk, 1 + len(spec.shape))
        claim.put(name, content)
        made.note(name, content)
    return made


def _ledger_lines(
    ledger: Ledger, group: Group, start: int, stop: int, made: Assembled
) -> pa.Table:
    """Return the ledger's lines of some samples, and account for shards that begin there."""
    parts = []
    for shard, content, entry, lines in ledger.entries(group, start, stop):
        if group.span(shard)[0] >= start:
            sums = {group.name: ChannelSums.from_json(entry.sums)}
            failed = Counter({group.name: entry.failed})
            made.add(Assembled(entry.objects, entry.crc32c, sums, failed))
            made.note(ledger_name(shard), content)
        parts.append(lines)
    return pa.concat_tables(parts)


class Ledger:
    """The entries of a run's shards: those that are held, and the store's.

    Parameters
    ----------
    folder, brief
        The store, and what the run does.
    held
        Entries by shard, which need not be read.
    """

    def __init__(self, folder: Folder, brief: Brief, held: Held) -> None:
        self._folder = folder
        self._pixels = brief.pixels
        self._held = held

    def entries(
        self, group: Group, start: int, stop: int
    ) -> Iterator[tuple[int, bytes, Entry, pa.Table]]:
        """Yield each shard that has some of these samples, its entry, and the lines of those.

        Entries of a bucket are read ahead: one after the other, they would be a commit's time.
        """
        size = group.layout.shard
        shards = group.shards[start // size : -(-stop // size)]
        missing = (ledger_name(shard) for shard in shards if shard not in self._held)
        read = self._folder.contents(missing)
        for shard in shards:
            content = self._held[shard] if shard in self._held else next(read)
            entry, lines = read_entry(content)
            if not entry.is_of(self._pixels):
                raise StoreError(
                    f"{ledger_name(shard)} is another run's, which wrote to {self._folder.url} "
                    f"when it should not have; delete it"
                )
            first = group.span(shard)[0]
            low, high = max(start - first, 0), min(stop - first, len(lines))
            yield shard, content, entry, lines.slice(low, high - low)


def _labels(folder: Folder, brief: Brief, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the label arrays of samples whose rows, in rising order, are given."""
    if not brief.labels:
        return {"label": np.full(len(rows), -1, np.int32)}
    columns = list(dict.fromkeys(label.column for label in brief.labels))
    found: dict[str, list[NDArray[Any]]] = {label.array: [] for label in brief.labels}
    for number in range(rows[0] // ROWS_PER_FILE, rows[-1] // ROWS_PER_FILE + 1):
        # By file: the rows of a small split lie far apart.
        first = number * ROWS_PER_FILE
        low, high = np.searchsorted(rows, (first, first + ROWS_PER_FILE))
        if low == high:
            continue
        mine = rows[low:high]
        table = read_rows(folder.open, int(mine[0]), int(mine[-1]) + 1, columns)
        for label in brief.labels:
            encoded = np.asarray(encode_label(_column(table, label.column), label))
            found[label.array].append(encoded[mine - mine[0]])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _values(spec: ArraySpec, lines: pa.Table) -> NDArray[Any]:
    """Return a small array's values from the ledger."""
    column = lines[spec.name].combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.flatten().to_numpy()).reshape(-1, *spec.shape)
    return np.asarray(column.to_numpy(zero_copy_only=False), spec.dtype)


def _column(table: pa.Table, name: str) -> pd.Series[Any]:
    """Return a column with whole numbers whole: beside empties they would become floats."""
    column: pd.Series[Any] = table[name].to_pandas(integer_object_nulls=True)
    return column


def assemble_rows(folder: Folder, brief: Brief, number: int, held: Held = NOTHING) -> Assembled:
    """Write a file of the finished rows table: each manifest row, and what became of it.

    ``held`` is as ``assemble_samples`` has it.
    """
    claim = Claim(folder, brief.run)
    claim.look()
    ledger = Ledger(folder, brief, held)
    start = number * ROWS_PER_FILE
    table = read_rows(folder.open, start, min(brief.rows, start + ROWS_PER_FILE))
    by_group = [_lines_of(ledger, group, table, i) for i, group in enumerate(brief.groups)]
    made = Assembled()
    for group, lines in zip(brief.groups, by_group, strict=True):
        made.failures += _failures(table, lines, group.name)
    table = _with_outcomes(table, by_group, brief)
    content = table_content(table)
    claim.put(rows_name(number), content)
    made.note(rows_name(number), content)
    return made


def _lines_of(ledger: Ledger, group: Group, table: pa.Table, number: int) -> pa.Table:
    """Return what the ledger has to tell of those of some rows that belong to a group.

    Of each row its first sample's line, and those of failed ones: a row may have thousands.
    """
    place, first, samples = (table[name].to_numpy() for name in STAGED[:3])
    mine = (place == number) & (samples > 0)
    if not mine.any():
        return pa.table({"row": pa.array([], pa.int64())})
    low, high = int(first[mine].min()), int((first + samples)[mine].max())
    return pa.concat_tables(_telling(lines) for *_, lines in ledger.entries(group, low, high))


def _telling(lines: pa.Table) -> pa.Table:
    wanted = pc.or_(pc.equal(lines["part"], 0), pc.equal(lines["status"], FAILED))
    return lines.select(["sample", "row", "part", *_OUTCOME]).filter(wanted)


def _with_outcomes(table: pa.Table, by_group: list[pa.Table], brief: Brief) -> pa.Table:
    """Return rows with their split, samples, and what the ledger says of their first sample.

    A row that gives no sample is ok, and says so: its ``samples`` are 0.
    """
    groups = table[STAGED[0]].to_numpy()
    named = table.append_column("first_sample", table[STAGED[1]])
    named = named.append_column("samples", table[STAGED[2]]).drop_columns(
        [name for name in (*STAGED, SEALED) if name in named.column_names]
    )
    if len(brief.groups) > 1:
        if "split" in named.column_names:
            named = named.rename_columns({"split": "split_"})
        names = np.array([group.name for group in brief.groups], object)
        named = named.append_column("split", pa.array(names[groups]))
    found = [lines.filter(pc.equal(lines["part"], 0)) for lines in by_group if len(lines)]
    none = ledger_schema(()).empty_table()
    firsts = pa.concat_tables([lines.select(["row", *_OUTCOME]) for lines in (none, *found)])
    places = np.full(len(table), -1)
    places[firsts["row"].to_numpy() - table["row"][0].as_py()] = np.arange(len(firsts))
    taken = pa.array(places, mask=places < 0)
    for name in _OUTCOME:
        column = firsts[name].take(taken)
        if name in ("status", "reason", "message"):
            column = column.fill_null({"status": OK}.get(name, ""))
        named = named.append_column(name, column)
    return named


def _failures(table: pa.Table, lines: pa.Table, split: str) -> Iterator[pa.Table]:
    if not len(lines):
        return
    failed = lines.filter(pc.equal(lines["status"], FAILED))
    if len(failed):
        places = pc.subtract(failed["row"], table["row"][0])
        named = table.select(["key", "path"]).take(places)
        kept = failed.select(FAILURE)
        for name in ("key", "path"):
            kept = kept.append_column(name, named[name])
        yield kept.append_column("split", pa.array([split] * len(failed), pa.string()))
