"""Every ``zarr.json`` of a store, written by zarr-python itself: what it writes, it reads."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from daskimg.plan import ArraySpec
from daskimg.store._codecs import BLOSC_LEVEL, ZSTD_LEVEL

if TYPE_CHECKING:
    from daskimg.options import Codec
    from daskimg.plan import Group


def metadata(groups: tuple[Group, ...], attributes: dict[str, Any]) -> dict[str, bytes]:
    """Return the content of each ``zarr.json`` by name, the consolidated root last."""
    memory: dict[str, Any] = {}
    store = MemoryStore(memory)
    root = zarr.create_group(store, attributes={"daskimg": attributes})
    for each in groups:
        group, layout = root.create_group(each.name) if each.name else root, each.layout
        for spec in each.sharded:
            _declare(group, spec, layout.samples, layout.chunk, layout.codec, shard=layout.shard)
        for spec in each.small:
            _declare(group, spec, layout.samples, each.small_chunk, "zstd")
    records = root.create_group("daskimg")
    # Files below an array are where no reader looks for members: elsewhere readers warn.
    _declare(records, ArraySpec("records", (), (), "uint8"), 0, 1, "none", axis="byte")
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata is not in the v3 specification; it is in use.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store)
    names = sorted(memory, key=lambda name: (name == "zarr.json", name))
    return {name: _indented(memory[name].to_bytes()) for name in names}


def _indented(content: bytes) -> bytes:
    return json.dumps(json.loads(content), indent=2).encode()


def _declare(
    group: zarr.Group,
    spec: ArraySpec,
    samples: int,
    chunk: int,
    codec: Codec,
    *,
    shard: int | None = None,
    axis: str = "sample",
) -> None:
    itemsize = np.dtype(spec.dtype).itemsize
    group.create_array(
        spec.name,
        shape=(samples, *spec.shape),
        dtype=spec.dtype,
        chunks=(chunk, *spec.shape),
        shards=(shard, *spec.shape) if shard else None,
        serializer=BytesCodec(endian="little" if itemsize > 1 else None),
        filters=None,
        compressors=[*_compressors(codec, itemsize), Crc32cCodec()],
        fill_value=0,
        dimension_names=(axis, *spec.axes),
    )


def _compressors(codec: Codec, itemsize: int) -> list[Any]:
    if codec == "none":
        return []
    if codec == "zstd":
        return [ZstdCodec(level=ZSTD_LEVEL)]
    return [BloscCodec(typesize=itemsize, cname="lz4", clevel=BLOSC_LEVEL, shuffle="bitshuffle")]
