"""Names and metadata of schema 1 (DESIGN.md section 5): what lies where, in plain Zarr v3."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import zarr
from numcodecs import blosc, zstd
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from daskimg.plan import SMALL_CHUNK, ArraySpec

if TYPE_CHECKING:
    from daskimg.manifest import Label
    from daskimg.options import Codec
    from daskimg.plan import Layout

PENDING, OK, FAILED, REDACTED = 0, 1, 2, 3
STATUS = ("pending", "ok", "failed", "redacted")
"""Names of the values of the ``status`` array."""

RECORDS = "daskimg/records"
PLAN = f"{RECORDS}/plan.json"
INPUT = f"{RECORDS}/input"
ROWS = f"{RECORDS}/rows"
LEDGER = f"{RECORDS}/ledger"
COMMITS = f"{RECORDS}/commits"
FAILURES = f"{RECORDS}/failures.parquet"

_ZSTD_LEVEL = 3
_BLOSC_LEVEL = 5


def chunk_name(array: str, index: int, axes: int) -> str:
    """Return the object that holds chunk (or shard) ``index`` along the first axis.

    >>> chunk_name("image", 12, 4)
    'image/c/12/0/0/0'
    """
    return f"{array}/c/{index}" + "/0" * (axes - 1)


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


def small_chunk(samples: int) -> int:
    """Return the samples per chunk of a small array."""
    return min(samples, SMALL_CHUNK)


def compressor(codec: Codec, itemsize: int) -> tuple[list[Any], Any]:
    """Return a codec as zarr's metadata has it, and a function that compresses a buffer."""
    if codec == "none":
        return [], bytes
    if codec == "zstd":
        return [ZstdCodec(level=_ZSTD_LEVEL)], zstd.Zstd(level=_ZSTD_LEVEL).encode
    made = BloscCodec(typesize=itemsize, cname="lz4", clevel=_BLOSC_LEVEL, shuffle="bitshuffle")
    return [made], _one_threaded(blosc.Blosc("lz4", _BLOSC_LEVEL, blosc.BITSHUFFLE))


def _one_threaded(codec: Any) -> Any:
    """Blosc's own threads may order blocks as they finish: other bytes from run to run."""

    def encode(chunk: Any) -> bytes:
        before, blosc.use_threads = blosc.use_threads, False
        try:
            return bytes(codec.encode(chunk))
        finally:
            blosc.use_threads = before

    return encode


def metadata(
    sharded: tuple[ArraySpec, ...],
    small: list[ArraySpec],
    layout: Layout,
    attributes: dict[str, Any],
) -> dict[str, bytes]:
    """Return every ``zarr.json`` by name, the consolidated root last.

    zarr-python itself writes them, into memory: what it writes, it reads.
    """
    memory = MemoryStore()
    root = zarr.create_group(memory, attributes={"daskimg": attributes})
    for spec in sharded:
        _declare(root, spec, layout.samples, layout.chunk, layout.shard, layout.codec)
    for spec in small:
        _declare(root, spec, layout.samples, small_chunk(layout.samples), None, "zstd")
    records = root.create_group("daskimg")
    # Files below an array are where no reader looks for members: elsewhere readers warn.
    _declare(records, ArraySpec("records", (), (), "uint8"), 0, 1, None, "none", axis="byte")
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata is not in the v3 specification; it is in use.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(memory)
    names = sorted(memory._store_dict, key=lambda name: (name == "zarr.json", name))
    return {name: _content(memory, name) for name in names}


def _content(memory: MemoryStore, name: str) -> bytes:
    buffer = memory._store_dict[name]
    return json.dumps(json.loads(buffer.to_bytes()), indent=2).encode()


def _declare(
    group: zarr.Group,
    spec: ArraySpec,
    samples: int,
    chunk: int,
    shard: int | None,
    codec: Codec,
    axis: str = "sample",
) -> None:
    import numpy as np

    itemsize = np.dtype(spec.dtype).itemsize
    group.create_array(
        spec.name,
        shape=(samples, *spec.shape),
        dtype=spec.dtype,
        chunks=(chunk, *spec.shape),
        shards=(shard, *spec.shape) if shard else None,
        serializer=BytesCodec(endian="little") if itemsize > 1 else BytesCodec(endian=None),
        filters=None,
        compressors=[*compressor(codec, itemsize)[0], Crc32cCodec()],
        fill_value=0,
        dimension_names=(axis, *spec.axes),
    )
