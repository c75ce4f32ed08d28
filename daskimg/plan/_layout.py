"""Arrays, and how their samples are cut into shards and chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from daskimg.manifest import Label
    from daskimg.options import Codec, StoreOptions
    from daskimg.transforms import Spec

SHARDED_FROM = 256
"""Bytes a sample from which an array is sharded; smaller ones are written by the commit."""

SMALL_CHUNK = 1 << 20
"""Samples per chunk of a small array."""

_MB = 1_000_000
_MIN_SHARD, _MAX_SHARD = 4 * _MB, 48 * _MB
_MIN_CHUNK, _MAX_CHUNK = 1 * _MB, 4 * _MB


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of the store: its axes behind ``sample``, their lengths, its dtype."""

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample, uncompressed."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def sharded(self) -> bool:
        """Whether tasks write it in shards, or the commit in large chunks."""
        return self.sample_bytes >= SHARDED_FROM or self.name == "image"


@dataclass(frozen=True, slots=True)
class Layout:
    """How ``samples`` are cut into shards of whole chunks."""

    samples: int
    shard: int
    chunk: int
    codec: Codec

    @property
    def shards(self) -> int:
        """Number of shards; the last one may be partial."""
        return -(-self.samples // self.shard)

    def span(self, shard: int) -> tuple[int, int]:
        """Return the first sample of a shard and the one behind its last."""
        return shard * self.shard, min(self.samples, (shard + 1) * self.shard)


def small_arrays(targets: tuple[ArraySpec, ...], labels: tuple[Label, ...]) -> list[ArraySpec]:
    """Return the arrays that the commit writes: facts of each sample, labels, small targets."""
    found = [
        ArraySpec("status", (), (), "uint8"),
        ArraySpec("row", (), (), "int64"),
        ArraySpec("part", (), (), "int32"),
    ]
    for label in labels:
        axes, shape = (), ()
        if label.kind == "multi":
            axes, shape = ((f"{label.array}_class",), (len(label.classes),))  # type: ignore[assignment]
        found.append(ArraySpec(label.array, axes, shape, label.dtype))
    if not labels:
        found.append(ArraySpec("label", (), (), "int32"))
    return [*found, *targets]


def arrays_of(spec: Spec) -> tuple[ArraySpec, ...]:
    """Return the arrays that samples of ``spec`` fill: image, affine, then the targets."""
    assert spec.height is not None and spec.width is not None  # noqa: PT018  Recipe.outputs saw to it
    image = (spec.height, spec.width, spec.channels)
    return (
        ArraySpec("image", ("height", "width", "channel"), image, spec.dtype),
        ArraySpec("affine", ("affine_row", "affine_column"), (2, 3), "float32"),
        *(ArraySpec(t.name, t.axes, t.shape, t.dtype) for t in spec.targets),
    )


def choose_layout(samples: int, sample_bytes: int, options: StoreOptions) -> Layout:
    """Return shard and chunk: a function of the counts, never of cores or workers.

    >>> from daskimg import StoreOptions
    >>> choose_layout(1_000_000, 64 * 64 * 3, StoreOptions())
    Layout(samples=1000000, shard=3904, chunk=244, codec='none')
    """
    target = min(max(samples * sample_bytes / 64, _MIN_SHARD), _MAX_SHARD)
    chunk_target = min(max(target / 16, _MIN_CHUNK), _MAX_CHUNK)
    shard, chunk = options.shard_samples, options.chunk_samples
    if chunk is None:
        chunk = max(1, min(samples, int(chunk_target / sample_bytes)))
        if shard is not None:
            chunk = _divisor_near(shard, chunk)
    if shard is None:
        shard = max(1, min(round(target / sample_bytes / chunk), -(-samples // chunk))) * chunk
    return Layout(samples, shard, chunk, options.codec)


def _divisor_near(number: int, wanted: int) -> int:
    """Return the largest divisor of ``number`` that is at most ``wanted``."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return max(d for d in (*small, *(number // d for d in small)) if d <= max(1, wanted))
