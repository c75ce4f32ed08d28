"""Finished stores written at once, without a build, for tests and benchmarks of reading."""

import json
from pathlib import Path

import numpy as np

from daskimg import fetch, recipes, store
from daskimg.plan import ArraySpec, Group, Layout
from daskimg.store._layout import COMMITS
from daskimg.store._metadata import metadata
from daskimg.store._shard import small_object


def write_store(url, image, *, shard, chunk, codec="none", status=None, label=None, mask=None):
    """Write arrays through ShardBuffer, with metadata and a commit; return the store's URL."""
    layout = Layout(len(image), shard, chunk, codec)
    folder = fetch.open_folder(str(url))
    given = {"image": image} if mask is None else {"image": image, "mask": mask}
    specs = tuple(_spec(name, array) for name, array in given.items())
    for spec in specs:
        _write_shards(folder, spec, given[spec.name], layout)
    small = {"status": status, "label": label}
    group = Group("", recipes.resize(8), specs, (), layout, 0)
    for spec in group.small:
        default = np.ones(len(image)) if spec.name == "status" else np.arange(len(image))
        values = small.get(spec.name)
        values = (default if values is None else np.asarray(values)).astype(spec.dtype)
        folder.put(f"{spec.name}/c/0", small_object(values, min(len(image), group.small_chunk)))
    _commit(folder, group, small["status"])
    return folder.url


def _spec(name, array):
    axes = ("height", "width", "channel") if name == "image" else ("mh", "mw", "mc")
    return ArraySpec(name, axes, array.shape[1:], array.dtype.name)


def _write_shards(folder, spec, array, layout):
    for shard in range(layout.shards):
        start, stop = layout.span(shard)
        buffer = store.ShardBuffer(spec, layout, stop - start)
        for i in range(start, stop):
            buffer.slot(i - start)[...] = array[i]
        folder.put(store.chunk_name(spec.name, shard, 4), buffer.finish())


def _commit(folder, group, status):
    failed = 0 if status is None else int((np.asarray(status) != store.OK).sum())
    attributes = {
        "schema": 1, "commit": 1, "fingerprints": {"pixels": "p", "labels": "l"}, "columns": {},
        "classes": {}, "samples": group.layout.samples, "failed": failed,
        "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3],
    }  # fmt: skip
    for name, content in metadata((group,), attributes).items():
        folder.put(name, content)
    objects = {name: store.stamp(folder.read(name)) for name in folder.sizes()}
    commit = {
        "schema": 1, "number": 1, "previous": None, "run": "r", "samples": group.layout.samples,
        "failed": failed, "fingerprints": attributes["fingerprints"], "objects": objects,
    }  # fmt: skip
    folder.put(f"{COMMITS}/000001.json", json.dumps(commit).encode())


def pictures(count, height=8, width=6, channels=3, dtype="uint8", seed=0):
    """Random pictures, each unlike the others."""
    values = np.random.default_rng(seed).integers(0, 256, (count, height, width, channels))
    return values.astype(dtype)


def flip_bit(url, name, place):
    """Flip a bit of an object."""
    path = Path(url) / name
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
