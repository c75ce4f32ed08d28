"""Samples changed on their way from where they lie: cut, scaled, mirrored, recoloured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.read._sources import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from daskimg.augment import Moves
    from daskimg.read._sources import Looked, Memory, Source

_BLOCK = 1 << 20  # bytes made at once: they stay in the second cache until they are written


class Cut:
    """The samples of a source as moves make them.

    Parameters
    ----------
    source
        Pictures, or masks of the same height and width.
    moves
        What is done to each line of a batch.
    mixed
        Whether levels are mixed where parts are scaled; or else the nearest pixel is taken,
        and colours are left alone, as for masks.
    """

    def __init__(self, source: Source, moves: Moves, *, mixed: bool) -> None:
        self._source, self._moves, self._mixed = source, moves, mixed
        stored: Any = source.sharded
        self.sharded = stored.at_size(*moves.size)
        self._stored = stored.shape[1:3]
        self._pixel = stored.shape[3] * stored.dtype.itemsize

    @property
    def pooled(self) -> Sequence[Looked]:
        """What is read ahead is what it is made of."""
        return self._source.pooled

    def runs(self, slots: NDArray[np.int64], lines: NDArray[np.int64]) -> Iterator[Run]:
        """Yield samples as they are made, some at a time, in memory that is used again."""
        size = self.sharded.sample_bytes
        block = np.empty((max(1, _BLOCK // size), *self._moves.size, self._pixel), np.uint8)
        start = block.ctypes.data
        for run in self._source.runs(slots, lines):
            for first in range(0, len(run.lines), len(block)):
                addresses, wanted = (each[first : first + len(block)] for each in run)
                places = np.arange(len(wanted))
                self._make(Run(addresses, places), wanted, block)
                yield Run(start + places * size, wanted)

    def into(self, slots: NDArray[np.int64], lines: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Make samples in their lines of ``out``: (line, height, width, channel)."""
        places = out.reshape(len(out), -1).view(np.uint8)
        for run in self._source.runs(slots, lines):
            self._make(run, run.lines, places.reshape(len(out), *self._moves.size, self._pixel))

    def _make(self, run: Run, lines: NDArray[np.int64], out: Memory) -> None:
        """Make a run's samples, which are those lines of the batch."""
        from daskimg import kernels  # numba and its compiling take a second or two

        moves = self._moves
        gather = (
            kernels.gather_scaled_windows
            if self._mixed and self._scales(lines)
            else kernels.gather_nearest
        )
        tall, wide = self._stored
        gather(*run, moves.windows[lines], moves.mirrored[lines], tall, wide, out)
        if self._mixed and moves.colours is not None:
            pixels = math.prod(moves.size)
            images = out.reshape(len(out), pixels, self._pixel)
            kernels.jitter_colours(images, run.lines, moves.colours[lines])

    def _scales(self, lines: NDArray[np.int64]) -> bool:
        return bool((self._moves.windows[lines, 2:] != self._moves.size).any())
