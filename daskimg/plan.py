"""Pure arithmetic before any work: counts, shapes, shards, bytes, and what they depend on.

Everything here is known before a pixel is decoded and is a function of the table, the recipe
and the options; never of cores or workers, so that a run resumes anywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg import fetch
from daskimg.errors import OptionError, PlanError
from daskimg.options import RunOptions, StoreOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.manifest import Facts, Label, Manifest
    from daskimg.options import Codec
    from daskimg.recipe import Recipe
    from daskimg.transforms import Spec

SCHEMA = 1
"""Number of the store format; raised when old readers would misread."""

SHARDED_FROM = 256
"""Bytes a sample from which an array is sharded; smaller ones are written by the commit."""

SMALL_CHUNK = 1 << 20
"""Samples per chunk of a small array."""

_MB = 1_000_000
_MIN_SHARD, _MAX_SHARD = 4 * _MB, 48 * _MB
_MIN_CHUNK, _MAX_CHUNK = 1 * _MB, 4 * _MB
_DIGEST = re.compile("[0-9a-f]{64}")
_SHARD_LIMIT = 2 * 1024 * _MB  # a task holds one shard in memory


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


@dataclass(frozen=True, slots=True)
class Brief:
    """All that a task needs to know: small, picklable, the same for every shard.

    Row ``r`` of the manifest becomes the samples ``r * parts`` to ``(r + 1) * parts``.
    ``expected`` holds the sha256 of objects that are repaired, and must come out the same;
    with ``retry``, finished shards in which files were missing are built again.
    """

    url: str
    run: str
    root: str
    bytes_column: str | None
    rows: int
    parts: int
    recipe: Recipe
    arrays: tuple[ArraySpec, ...]
    labels: tuple[Label, ...]
    layout: Layout
    compiled: bool
    expected: tuple[tuple[str, str], ...] = ()
    retry: bool = False

    @property
    def sharded(self) -> tuple[ArraySpec, ...]:
        """The arrays that tasks write."""
        return tuple(array for array in self.arrays if array.sharded)

    @property
    def targets(self) -> tuple[ArraySpec, ...]:
        """The small arrays that recipes make, carried by the ledger."""
        return tuple(array for array in self.arrays if not array.sharded)

    def rows_of(self, start: int, stop: int) -> tuple[int, int]:
        """Return the rows whose samples lie in ``start`` to ``stop``."""
        return start // self.parts, -(-stop // self.parts)


@dataclass(frozen=True)
class Plan:
    """What a run will do; nothing has been written yet.

    Attributes
    ----------
    url
        Where the store will be.
    manifest, facts
        The table, and what one pass over it found.
    recipe
        What is done to each picture.
    arrays
        The arrays that the recipe makes, ``image`` first.
    layout
        How they are cut.
    parts
        Samples that one row becomes.
    options
        What the run puts up with.
    """

    url: str
    manifest: Manifest
    facts: Facts
    recipe: Recipe
    arrays: tuple[ArraySpec, ...]
    layout: Layout
    parts: int
    options: RunOptions

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.layout.samples

    @property
    def written_bytes(self) -> int:
        """Bytes of the arrays, uncompressed."""
        small = 29 + sum(8 if label.dtype == "int64" else 4 for label in self.facts.labels)
        return self.samples * (sum(array.sample_bytes for array in self.arrays) + small)

    @property
    def objects(self) -> int:
        """Objects that the build writes: shards, ledger, small arrays, tables, metadata."""
        small = 3 + max(1, len(self.facts.labels)) + sum(not a.sharded for a in self.arrays)
        sharded = len(self.arrays) - sum(not a.sharded for a in self.arrays)
        chunks = small * -(-self.samples // SMALL_CHUNK)
        return self.layout.shards * (sharded + 1) + chunks + small + sharded + 6

    @property
    def shard_bytes(self) -> int:
        """Bytes that a task holds for its shard of all sharded arrays."""
        return self.layout.shard * sum(a.sample_bytes for a in self.arrays if a.sharded)

    @property
    def root(self) -> str:
        """What relative paths are relative to, from wherever a worker runs."""
        root = self.manifest.root
        return root if fetch.is_url(root) else fetch.open_folder(root or ".").url

    @property
    def values(self) -> int:
        """Number of values of the image array."""
        return self.samples * math.prod(self.arrays[0].shape)

    def brief(
        self,
        run: str,
        *,
        expected: dict[str, str] | None = None,
        compiled: bool = False,
        retry: bool = False,
    ) -> Brief:
        """Return what the tasks of a run are told."""
        return Brief(
            url=self.url,
            run=run,
            root=self.root,
            bytes_column=self.manifest.bytes_column,
            rows=self.facts.rows,
            parts=self.parts,
            recipe=self.recipe,
            arrays=self.arrays,
            labels=self.facts.labels,
            layout=self.layout,
            compiled=compiled,
            expected=tuple(sorted((expected or {}).items())),
            retry=retry,
        )

    def pixels(self) -> dict[str, Any]:
        """Return, by name, everything that the bytes of the image array depend on."""
        recipe = self.recipe.to_dict()
        return {
            "rows": self.facts.rows,
            "paths and keys": self.facts.digest,
            "picture bytes from": self.manifest.bytes_column or "paths",
            "seed": recipe.pop("seed"),
            "exact decode": recipe["decode"].pop("exact"),
            "recipe": recipe,
            "custom code": self.recipe.sources(),
            "decoder": self.recipe.versions(),
            "shard samples": self.layout.shard,
            "chunk samples": self.layout.chunk,
            "codec": self.layout.codec,
        }

    def labels(self) -> dict[str, Any]:
        """Return, by name, everything that the label arrays and the rows table depend on."""
        return {
            "labels": [label.to_json() for label in self.facts.labels],
            "columns": dict(self.facts.columns),
            "values": self.facts.values_digest,
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the plan as a table of two columns, for people."""
        yield "manifest", f"{self.manifest.source}: {self.facts.rows:,} rows"
        yield "samples", f"{self.samples:,}"
        for array in self.arrays:
            axes = " x ".join(str(length) for length in array.shape) or "scalar"
            yield array.name, f"{axes} {array.dtype} ({', '.join(array.axes)})"
        for label in self.facts.labels:
            yield f"label {label.column!r}", _described(label)
        yield (
            "shards",
            (
                f"{self.layout.shards:,} of {self.layout.shard:,} samples "
                f"({_megabytes(self.shard_bytes)}), chunks of {self.layout.chunk:,}, "
                f"codec {self.layout.codec}"
            ),
        )
        yield "bytes written", _megabytes(self.written_bytes)
        for mention in self.facts.mentions:
            yield "note", mention
        yield "store", self.url

    def __repr__(self) -> str:
        return "\n".join(f"{name:>16}  {text}" for name, text in self.lines())

    def _repr_html_(self) -> str:
        from html import escape

        cells = "".join(
            f"<tr><th style='text-align:right'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in self.lines()
        )
        return f"<table>{cells}</table>"


def plan_store(
    manifest: Manifest,
    url: str,
    recipe: Recipe,
    *,
    store: StoreOptions | None = None,
    options: RunOptions | None = None,
    stored_rows: int | None = None,
) -> Plan:
    """Read the table once and plan the store; nothing is written.

    Parameters
    ----------
    manifest
        The table; see ``read_manifest``.
    url
        Where the store is to be: a local path or a URL.
    recipe
        What is done to each picture.
    store
        Shards, chunks and codec.
    options
        What the run puts up with.
    stored_rows
        Rows of an unfinished store at ``url``, to tell appended rows from other changes.

    Raises
    ------
    PlanError
        If there is nothing to do, or inputs do not fit together.
    """
    outputs = recipe.outputs()
    facts = manifest.scan(stored_rows)
    if not facts.rows:
        raise PlanError(f"{manifest.source} is empty: there is nothing to build")
    arrays = arrays_of(outputs[0])
    _check_names(arrays, facts.labels)
    sharded = sum(array.sample_bytes for array in arrays if array.sharded)
    layout = choose_layout(facts.rows * len(outputs), sharded, store or StoreOptions())
    if layout.shard * sharded > _SHARD_LIMIT:
        raise PlanError(
            f"a shard of {layout.shard:,} samples is {_megabytes(layout.shard * sharded)}, and a "
            f"task holds it whole; the limit is {_megabytes(_SHARD_LIMIT)}: lower --shard-samples "
            f"or --size"
        )
    url = fetch.open_folder(url).url  # absolute: a worker may run in another folder
    return Plan(
        url, manifest, facts, recipe, arrays, layout, len(outputs), options or RunOptions()
    )


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


def fingerprint(parts: dict[str, Any]) -> str:
    """Return the sha256 of what an array depends on, as canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def differences(stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Name what differs between a stored plan's parts and those asked for."""
    before, after = dict(_leaves(stored)), dict(_leaves(asked))
    return [
        f"{name}{_values(before.get(name), after.get(name))}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the text of everything in nested dicts and lists."""
    if isinstance(value, dict):
        inner = ((str(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        inner = ((str(item.get("name", i)), item) for i, item in enumerate(value))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)
        return
    for key, item in inner:
        yield from _leaves(item, f"{name}.{key}" if name else key)


def _values(stored: str | None, asked: str | None) -> str:
    """Return both values, unless they are digests, which say nothing to people."""
    if any(_DIGEST.fullmatch(text or "") for text in (stored, asked)):
        return ""
    return f" ({_shown(stored)} in the store, {_shown(asked)} asked)"


def _shown(text: str | None) -> str:
    return "nothing" if text is None else text if len(text) <= 160 else f"{text[:157]}..."


_TAKEN = {"row", "part", "status", "label", "daskimg"}


def _check_names(arrays: tuple[ArraySpec, ...], labels: tuple[Label, ...]) -> None:
    names = [array.name for array in arrays]
    for name in names:
        if name in _TAKEN or names.count(name) > 1:
            raise PlanError(f"the recipe makes a target {name!r}, which the store has; rename it")
    for label in labels:
        if label.array in names:
            raise OptionError(
                f"the label column {label.column!r} has the name of an array of the recipe; "
                f"rename it in the table"
            )


def _described(label: Label) -> str:
    text = f"{label.kind} -> {label.array} {label.dtype}"
    if label.classes:
        text += f", {len(label.classes):,} classes"
    return text + (f", {label.empties:,} empty" if label.empties else "")


def _megabytes(count: float) -> str:
    return f"{count / _MB:,.1f} MB"
