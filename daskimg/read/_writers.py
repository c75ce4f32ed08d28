"""From where samples lie into the arrays that are handed over, in one pass."""

from __future__ import annotations

import copy
import ctypes
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg import streams
from daskimg.compiling import Rent
from daskimg.read._cut import Cut
from daskimg.statistics import normalize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import NDArray

    from daskimg.augment import Moves
    from daskimg.read._sources import Run, Source
    from daskimg.statistics import Floating, Layout, Mode

# As measured: 1 s to import numba and compile; NumPy's look-up costs 1.6 ns a value more.
_GATHERED = Rent(600_000_000)

_LARGE = 8 << 20  # bytes of a batch that no cache keeps until it is used: written past them


class Writer(ABC):
    """Writes samples of one array. ``shape`` is a sample's, as it is handed over."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _source: Source

    @abstractmethod
    def write(self, slots: NDArray[np.int64], lines: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write the samples of some slots, which rise, into their lines of ``out``."""

    def changed(self, moves: Moves, *, mixed: bool) -> Self:
        """Return a writer of what moves make of the samples: see ``Cut``."""
        found = copy.copy(self)
        found._source = Cut(self._source, moves, mixed=mixed)
        return found


class Copied(Writer):
    """As stored, byte by byte."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.shape: tuple[int, ...] = source.sharded.shape[1:]
        self.dtype = source.sharded.dtype

    def foresee(self, samples: int, lines: int) -> None:
        """Take note that so many samples are to be written, in batches of so many lines."""
        size = self._source.sharded.sample_bytes
        if lines * size >= _LARGE:
            streams.foresee(2 * samples * size)  # they are checked, too

    def write(self, slots: NDArray[np.int64], lines: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write the samples of some slots, which rise, into their lines of ``out``."""
        if isinstance(self._source, Cut):
            self._source.into(slots, lines, out)
            return
        size = self._source.sharded.sample_bytes
        past = out.nbytes >= _LARGE and streams.pays(len(slots) * size)
        for run in self._source.runs(slots, lines):
            if past:
                streams.gather(*run, out)
            else:
                start = out.ctypes.data
                for address, line in zip(run.addresses.tolist(), run.lines.tolist(), strict=True):
                    ctypes.memmove(start + line * size, address, size)  # without the GIL


class Turned(Writer):
    """As stored, channels first."""

    def __init__(self, source: Source) -> None:
        self._source = source
        height, width, channels = source.sharded.shape[1:]
        self.shape: tuple[int, ...] = (channels, height, width)
        self.dtype = source.sharded.dtype

    def write(self, slots: NDArray[np.int64], lines: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write the samples of some slots, which rise, into their lines of ``out``."""
        for image, line in _images(self._source, slots, lines):
            out[line] = image.transpose(2, 0, 1)


@dataclass(frozen=True)
class Norm:
    """By what pictures are normalised: see ``daskimg.normalize``."""

    mode: Mode
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    dtype: Floating
    layout: Layout

    def fill(self, images: NDArray[Any], out: NDArray[Any]) -> None:
        """Normalise whole pictures into ``out``."""
        normalize(
            images,
            mean=self.mean,
            std=self.std,
            mode=self.mode,
            layout=self.layout,
            dtype=self.dtype,
            out=out,
        )

    def affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (channel,) scale and shift of an 8-bit level."""
        if self.mean is None or self.std is None:
            return np.array([2 / 255]), np.array([-1.0])
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        return 1 / (std * 255), -mean / std


class Normalised(Writer):
    """As floating-point numbers: what ``normalize`` gives, to the bit.

    Raises
    ------
    OptionError
        If the pictures cannot be normalised so.
    """

    def __init__(self, source: Source, norm: Norm) -> None:
        self._source = source
        self._norm = norm
        height, width, channels = source.sharded.shape[1:]
        self._planar = norm.layout == "chw"
        turned, plain = (channels, height, width), (height, width, channels)
        self.shape: tuple[int, ...] = turned if self._planar else plain
        self.dtype = np.dtype(norm.dtype)
        self._table = self._levels(channels)

    def write(self, slots: NDArray[np.int64], lines: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write the samples of some slots, which rise, into their lines of ``out``."""
        by_level = self._norm.mode != "per-image" and self._source.sharded.dtype == np.uint8
        if by_level and self._is_compiled(len(slots)):
            flat = out.reshape(len(out), -1)
            for run in self._source.runs(slots, lines):
                self._gather(run, flat)
        else:
            for image, line in _images(self._source, slots, lines):
                self._norm.fill(image[None], out[line : line + 1])

    def _is_compiled(self, samples: int) -> bool:
        """Tell whether compiling pays: for what is cut numba is there."""
        return isinstance(self._source, Cut) or _GATHERED.worth(samples * math.prod(self.shape))

    def _gather(self, run: Run, out: NDArray[Any]) -> None:
        from daskimg import kernels

        if self._affine is not None:
            past = len(self._table) == 3 and out.nbytes >= _LARGE and kernels.streams(out)
            kernels.gather_scaled(*run, *self._affine, out, self._planar, past)
        else:
            bits = np.dtype(f"u{out.itemsize}")  # numba has no float16, and needs no meaning here
            kernels.gather_look_up(*run, self._table.view(bits), out.view(bits), self._planar)

    def _levels(self, channels: int) -> NDArray[Any]:
        """Return (channel, level): what each level of an 8-bit picture becomes.

        Made at once: what cannot be normalised is refused before anything is read.
        """
        levels = np.arange(256).astype(self._source.sharded.dtype).reshape(1, 1, 256, 1)
        images = np.ascontiguousarray(np.broadcast_to(levels, (1, 1, 256, channels)))
        out = np.empty((1, channels, 1, 256) if self._planar else images.shape, self.dtype)
        self._norm.fill(images, out)
        return np.ascontiguousarray(out[0, :, 0] if self._planar else out[0, 0].T)

    @cached_property
    def _affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Scale and shift, if arithmetic with them gives the table.

        A level of the table is rounded once, and this three times: it has never differed, and
        is compared all the same.
        """
        if self.dtype != np.float32:
            return None
        scale, shift = (
            np.broadcast_to(numbers, len(self._table)).copy() for numbers in self._norm.affine()
        )
        computed = np.arange(256) * scale[:, None] + shift[:, None]
        return (scale, shift) if (computed.astype(np.float32) == self._table).all() else None


def _images(
    source: Source, slots: NDArray[np.int64], lines: NDArray[np.int64]
) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield a view of each sample, and the line where it is wanted."""
    sharded = source.sharded
    memory = ctypes.c_ubyte * sharded.sample_bytes
    for run in source.runs(slots, lines):
        for address, line in zip(run.addresses.tolist(), run.lines.tolist(), strict=True):
            content = np.frombuffer(memoryview(memory.from_address(address)), sharded.dtype)
            yield content.reshape(sharded.shape[1:]), line
