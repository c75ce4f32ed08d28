"""The ledger: one small Parquet object per finished shard, a line a sample.

Only an entry here proves that a shard is done: an object of the right size is no proof. What
it holds does not depend on when, where or how often the shard was built: no times, no workers.
"""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from daskimg.store._layout import LEDGER
from daskimg.store._shard import checksum

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daskimg.fetch import Folder, Listed
    from daskimg.plan import ArraySpec
    from daskimg.store._claim import Claim

_KEY = b"daskimg"
_SUM = b"daskimg.crc32c"  # Parquet has checksums of its pages only
_ENTRY = re.compile(rf"{LEDGER}/(\d+)\.parquet")

FAILURE = ["sample", "row", "part", "reason", "message"]
"""The ledger's columns that a failed sample's line repeats."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a finished shard without its samples.

    Attributes
    ----------
    shard, samples, failed, reduced
        The shard's number; its samples; how many failed; how many came from a source of more
        than 8 bits a channel that the output keeps 8 of.
    completed
        Rows whose path was found with an extension behind it; with the shard of part 0.
    reasons
        Failed samples by reason.
    objects
        Bytes and sha256 of each object of this shard, by name.
    sums
        Exact channel sums of the ``ok`` samples: ``ChannelSums.to_json()``.
    source_bytes
        Bytes of the sources whose first sample is in this shard.
    crc32c
        Of each object, in base64, by name: what storage itself may tell of it.
    pixels
        The fingerprint of what the run's pixels depend on: an entry of another run's plan is
        none.
    """

    shard: int
    samples: int
    failed: int
    reduced: int
    completed: int
    source_bytes: int
    reasons: dict[str, int] = field(default_factory=dict)
    objects: dict[str, tuple[int, str]] = field(default_factory=dict)
    sums: dict[str, Any] = field(default_factory=dict)
    crc32c: dict[str, str] = field(default_factory=dict)
    pixels: str = ""

    def is_of(self, pixels: str) -> bool:
        """Tell whether the entry belongs to a plan; those of before did not say."""
        return self.pixels in ("", pixels)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Entry:
        """Return the entry that ``to_json`` wrote."""
        objects = {name: (size, digest) for name, (size, digest) in given["objects"].items()}
        return cls(**{**given, "objects": objects})


def ledger_name(shard: int) -> str:
    """Return the name of a shard's entry; the number is what counts, not the text's order."""
    return f"{LEDGER}/{shard:08d}.parquet"


def ledger_schema(targets: tuple[ArraySpec, ...]) -> pa.Schema:
    """Return the columns of an entry: facts of each sample, then small targets, flattened."""
    return pa.schema(
        [
            ("sample", pa.int64()),
            ("row", pa.int64()),
            ("part", pa.int32()),
            ("status", pa.uint8()),
            ("reason", pa.string()),
            ("message", pa.string()),
            ("source_sha256", pa.string()),
            ("source_bytes", pa.int64()),
            ("source_width", pa.int32()),
            ("source_height", pa.int32()),
            ("source_mode", pa.string()),
            *((spec.name, _flat_type(spec)) for spec in targets),
        ]
    )


def no_failures() -> pa.Table:
    """Return the table of failures without a line: the ledger's columns, then who it was."""
    schema = ledger_schema(())
    kept = [schema.field(name) for name in FAILURE]
    names = ("key", "path", "split")
    return pa.schema([*kept, *((name, pa.string()) for name in names)]).empty_table()


def _flat_type(spec: ArraySpec) -> pa.DataType:
    return pa.list_(pa.from_numpy_dtype(spec.dtype), math.prod(spec.shape))


def write_entry(claim: Claim, entry: Entry, lines: pa.Table) -> bytes:
    """Put a shard's entry, the last thing a task does; return the object's bytes."""
    told = json.dumps(entry.to_json()).encode()
    kept = lines.replace_schema_metadata({_KEY: told, _SUM: checksum(told).encode()})
    sink = io.BytesIO()
    pq.write_table(kept, sink, compression="zstd", write_page_checksum=True)
    content = sink.getvalue()
    claim.put(ledger_name(entry.shard), content)
    return content


def read_entry(content: bytes) -> tuple[Entry, pa.Table]:
    """Return a shard's entry and its lines from the object's bytes."""
    lines = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
    told = lines.schema.metadata[_KEY]
    if lines.schema.metadata.get(_SUM, checksum(told).encode()) != checksum(told).encode():
        raise ValueError("the entry's checksum is not its own")
    return Entry.from_json(json.loads(told)), lines


def find_entry(folder: Folder, shard: int) -> Entry | None:
    """Return a shard's entry, or ``None`` if the shard is not finished or its object is gone."""
    entry = whole_entry(folder, shard)
    if entry is None:
        return None
    there = all(folder.size(name) == size for name, (size, _) in entry.objects.items())
    return entry if there else None


def is_as_written(found: Listed, size: int, crc32c: str | None) -> bool:
    """Tell whether a listing tells of an object what is known of it, as far as it tells.

    A crc32c tells of damage. Two whole shards without compression have the same, whatever
    their pixels, since each chunk ends in its own: create-only puts keep them apart.
    """
    alike = found.crc32c is None or crc32c is None or found.crc32c == crc32c
    return found.size == size and alike


def listed_shards(names: Iterable[str]) -> list[int]:
    """Return the shards, rising, that have an entry among a store's objects.

    >>> listed_shards(["daskimg/records/ledger/00000012.parquet", "image/c/3/0/0/0"])
    [12]
    """
    matches = (_ENTRY.fullmatch(name) for name in names)
    return sorted(int(match[1]) for match in matches if match)


def whole_entry(folder: Folder, shard: int) -> Entry | None:
    """Return a shard's entry, or ``None`` if there is none that can be read and counted."""
    return parsed_entry(read_content(folder, shard), shard)


def read_content(folder: Folder, shard: int) -> bytes | None:
    """Return the object that is a shard's entry, or ``None`` if there is none."""
    try:
        return folder.read(ledger_name(shard))
    except FileNotFoundError:
        return None


def parsed_entry(content: bytes | None, shard: int) -> Entry | None:
    """Return the entry of a shard in an object, or ``None`` if it is damaged, or another's."""
    if content is None:
        return None
    try:
        entry, lines = read_entry(content)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None  # a damaged entry proves nothing: the shard is built again
    return entry if (entry.shard, entry.samples) == (shard, len(lines)) else None
