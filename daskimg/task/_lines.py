"""The ledger's lines of one shard."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskimg import store
from daskimg.task._samples import entry_of

if TYPE_CHECKING:
    from daskimg.decode import Source
    from daskimg.errors import SampleError
    from daskimg.plan import Group
    from daskimg.task._contents import Content
    from daskimg.task._rows import Planned
    from daskimg.transforms import Sample


class Lines:
    """The ledger's columns for one shard, filled in any order and by several threads."""

    def __init__(self, group: Group, start: int, count: int) -> None:
        self._schema = store.ledger_schema(group.targets)
        self._samples = range(start, start + count)
        self._counting = threading.Lock()
        self.reduced = 0
        self.completed = 0
        self.read_bytes = 0
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

    def source(self, places: range, each: Planned, content: Content) -> None:
        """Note the file that was read."""
        if places.start == each.first:  # the shard that has the row's first sample counts it
            with self._counting:
                self.read_bytes += len(content.picture)
                self.completed += bool(content.extension)
        for place in places:
            self.source_sha256[place - self._samples.start] = content.digest
            self.source_bytes[place - self._samples.start] = len(content.picture)

    def failed(
        self, places: range, each: Planned, error: SampleError, source: Source | None = None
    ) -> None:
        """Note that a row, or one sample of a picture, failed: its slots stay, as zeros."""
        for place in places:
            i = self._named(place, each)
            self.status[i] = store.FAILED
            self.reason[i] = error.reason
            self.message[i] = error.message
            if source is not None:
                self._sized(i, source)

    def made(self, place: int, each: Planned, sample: Sample, source: Source) -> None:
        """Note a finished sample."""
        i = self._named(place, each)
        self.status[i] = store.OK
        self._sized(i, source)
        if source.reduced:
            with self._counting:
                self.reduced += source.reduced
        for name, column in self._small.items():
            column[i] = entry_of(sample, name)

    def _sized(self, i: int, source: Source) -> None:
        self.source_width[i] = source.width
        self.source_height[i] = source.height
        self.source_mode[i] = source.mode

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
