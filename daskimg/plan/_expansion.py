"""How many samples each row gives, and which: known before a pixel is decoded."""

from __future__ import annotations

import hashlib
import tempfile
import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from daskimg.plan._layout import Layout

_BLOCK = 1 << 16  # rows looked at together

LINE = np.dtype([("group", "u1"), ("samples", "<i4"), ("height", "<i4"), ("width", "<i4")])
"""What an expansion keeps of each row; the size is 0 x 0 where no header could be read."""


class Places(NamedTuple):
    """Where the samples of consecutive rows lie; every array is (row,).

    Attributes
    ----------
    group
        uint8, which of the store's groups.
    first, samples
        int64, the first sample in that group; int32, how many.
    height, width
        int32, the picture's size as declared by its header, upright; -1 where none was read,
        0 where none could be.
    """

    group: NDArray[np.uint8]
    first: NDArray[np.int64]
    samples: NDArray[np.int32]
    height: NDArray[np.int32]
    width: NDArray[np.int32]


class Expansion(Protocol):
    """Rows to samples.

    Attributes
    ----------
    rows
        Rows of the manifest that are used.
    samples
        Number of samples, by group.
    digest
        sha256 of all lines; ``None`` where they follow from the number of rows.
    measured
        Whether sizes were read.
    empty
        Rows that give no sample.
    """

    @property
    def rows(self) -> int: ...
    @property
    def samples(self) -> tuple[int, ...]: ...
    @property
    def digest(self) -> str | None: ...
    @property
    def measured(self) -> bool: ...
    @property
    def empty(self) -> int: ...

    def places(self, start: int, stop: int) -> Places:
        """Return where the samples of rows ``start`` to ``stop`` lie."""

    def spans(self, group: int, layout: Layout) -> Iterator[tuple[int, int]]:
        """Yield, for each shard of a group, its first row and the one behind its last."""


@dataclass(frozen=True)
class Uniform:
    """Every row gives ``parts`` samples of one group; the last fewer, if ``total`` says so."""

    rows: int
    parts: int
    total: int

    digest = None
    measured = False
    empty = 0

    @property
    def samples(self) -> tuple[int, ...]:
        """Number of samples, by group."""
        return (self.total,)

    def places(self, start: int, stop: int) -> Places:
        """Return where the samples of rows ``start`` to ``stop`` lie."""
        first = np.arange(start, stop, dtype=np.int64) * self.parts
        samples = np.minimum(self.parts, self.total - first).astype(np.int32)
        none = np.full(stop - start, -1, np.int32)
        return Places(np.zeros(stop - start, np.uint8), first, samples, none, none)

    def spans(self, group: int, layout: Layout) -> Iterator[tuple[int, int]]:  # noqa: ARG002  one group
        """Yield, for each shard, its first row and the one behind its last."""
        for start, stop in map(layout.span, range(layout.shards)):
            yield start // self.parts, -(-stop // self.parts)


class Listed:
    """A line for each row, on disk: the client's memory does not grow with the table.

    Add lines in the order of the rows, then ask.

    Parameters
    ----------
    groups
        Number of groups.
    measured
        Whether the lines' sizes are those of headers.

    Attributes
    ----------
    refused
        Pictures over the limit on pixels: they will fail, and have one line each.
    """

    def __init__(self, groups: int, *, measured: bool) -> None:
        self.measured = measured
        self.rows = 0
        self.refused = 0
        self._groups = groups
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the plan
        weakref.finalize(self, self._file.close)
        self._sum = hashlib.sha256()
        self._totals = np.zeros(groups, np.int64)

    def add(self, lines: NDArray[Any]) -> None:
        """Append (row,) lines of dtype ``LINE``."""
        content = lines.tobytes()
        self._file.write(content)
        self._sum.update(content)
        self.rows += len(lines)
        self._totals += self._counted(lines)

    def _counted(self, lines: NDArray[Any]) -> NDArray[np.int64]:
        counts = np.bincount(lines["group"], lines["samples"], self._groups)
        return counts.astype(np.int64)  # float64 counts exactly to 2**53

    @property
    def samples(self) -> tuple[int, ...]:
        """Number of samples, by group."""
        return tuple(self._totals.tolist())

    @property
    def digest(self) -> str:
        """sha256 of all lines."""
        return self._sum.hexdigest()

    @cached_property
    def _lines(self) -> NDArray[Any]:
        self._file.flush()
        if not self.rows:
            return np.zeros(0, LINE)
        return np.memmap(self._file, LINE, "r", shape=(self.rows,))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """(block, group): samples of each group before each block of rows."""
        blocks = [self._counted(self._lines[a : a + _BLOCK]) for a in range(0, self.rows, _BLOCK)]
        return np.cumsum([np.zeros(self._groups, np.int64), *blocks], axis=0)

    def places(self, start: int, stop: int) -> Places:
        """Return where the samples of rows ``start`` to ``stop`` lie."""
        begin = start // _BLOCK * _BLOCK
        lines = self._lines[begin:stop]
        samples = lines["samples"].astype(np.int64)
        first = np.zeros(len(lines), np.int64)
        for group in range(self._groups):
            mine = lines["group"] == group
            before = self._starts[begin // _BLOCK, group] if self.rows else 0
            first[mine] = before + np.cumsum(samples[mine]) - samples[mine]
        rest = lines[start - begin :]
        columns = (np.ascontiguousarray(rest[name]) for name in ("samples", "height", "width"))
        return Places(np.ascontiguousarray(rest["group"]), first[start - begin :], *columns)

    def spans(self, group: int, layout: Layout) -> Iterator[tuple[int, int]]:
        """Yield, for each shard of a group, its first row and the one behind its last.

        Sixteen bytes a shard are held meanwhile.
        """
        low = np.full(layout.shards, self.rows, np.int64)
        high = np.zeros(layout.shards, np.int64)
        for row, first, last in self._touched(group, layout):
            np.minimum.at(low, first, row)
            np.maximum.at(high, last, row + 1)
            for i in np.flatnonzero(last > first):  # no more of those than there are shards
                begun, ended = slice(first[i] + 1, last[i] + 1), slice(first[i], last[i])
                low[begun] = np.minimum(low[begun], row[i])
                high[ended] = np.maximum(high[ended], row[i] + 1)
        for begin, end in zip(low, high, strict=True):
            yield int(begin), int(end)

    def straddles(self, group: int, layout: Layout) -> int:
        """Return how often a picture is decoded once more, because it reaches another shard."""
        return sum(int((last - first).sum()) for _, first, last in self._touched(group, layout))

    def _touched(
        self, group: int, layout: Layout
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
        """Yield rows of a group that give samples, and the first and last shard of each."""
        for start in range(0, self.rows, _BLOCK):
            places = self.places(start, min(self.rows, start + _BLOCK))
            mine = np.flatnonzero((places.group == group) & (places.samples > 0))
            first = places.first[mine]
            last = first + places.samples[mine] - 1
            yield mine + start, first // layout.shard, last // layout.shard

    @cached_property
    def largest(self) -> int:
        """Pixels of the largest picture."""
        sizes = (self._lines[a : a + _BLOCK] for a in range(0, self.rows, _BLOCK))
        return max(
            (int((s["height"].astype(np.int64) * s["width"]).max()) for s in sizes), default=0
        )

    @cached_property
    def empty(self) -> int:
        """Rows that give no sample."""
        sizes = (self._lines[a : a + _BLOCK] for a in range(0, self.rows, _BLOCK))
        return sum(int((s["samples"] == 0).sum()) for s in sizes)
