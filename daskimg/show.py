"""A finished store in words: what it is, its classes, what failed, what is there twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg import store
from daskimg.read import open_store
from daskimg.transforms import GREY_MODES
from daskimg.words import counted, named

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from daskimg.read import Samples

_LISTED = 20  # classes, sizes, and groups of equal pictures, that are named


def describe(url: str) -> Iterator[str]:
    """Yield the lines of ``daskimg show``."""
    committed = store.open_committed(url)
    groups = [open_store(url, split) for split in committed.splits or (None,)]
    rows: pd.DataFrame = committed.rows().to_pandas()
    yield committed.folder.url
    yield from _what(committed.attributes)
    for samples in groups:
        yield from _group(samples)
    yield from _sources(rows)
    yield from _failed(committed.failures().to_pandas())
    yield from _repeated(rows, committed.attributes)


def _what(facts: dict[str, Any]) -> Iterator[str]:
    exact = "exact" if facts["recipe"]["decode"]["exact"] else "scaled"
    yield f"  recipe {_steps(facts['recipe'])}; seed {facts['seed']}; {exact} decoding"
    for name, own in facts["recipe"].get("split", {}).items():
        if name in facts.get("splits", ()):
            yield f"  recipe of {name}: {_steps(own)}"
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    yield f"  commit {facts['commit']}; {versions}"


def _steps(recipe: dict[str, Any]) -> str:
    return " > ".join(_step(step) for step in recipe["transform"]) or "none"


def _group(samples: Samples) -> Iterator[str]:
    """Yield what is special to a split, or to a store without splits."""
    image, facts = samples.image, samples.attributes
    shape = " x ".join(str(length) for length in image.shape[1:])
    shard, chunk = (image.shards or image.chunks)[0], image.chunks[0]
    yield (
        f"{named(samples.split or 'samples')}: {len(samples):,} of {shape} {image.dtype}, "
        f"{facts['failed']:,} failed; shards of {shard:,}, chunks of {chunk:,}"
    )
    if samples.mean is not None and samples.std is not None:
        yield f"  mean {_levels(samples.mean)}, std {_levels(samples.std)} of 0..1"
    for name in samples.targets:
        array = samples.target(name)
        yield f"  {name}: {' x '.join(str(length) for length in array.shape[1:])} {array.dtype}"
    yield from _counts(samples)


def _sources(rows: pd.DataFrame) -> Iterator[str]:
    """Yield the modes and the sizes of the pictures."""
    empty = int((rows["samples"] == 0).sum())
    if empty:
        yield f"{counted(empty, 'row')} without a sample"
    known = rows[rows["source_width"].fillna(0) > 0]
    if known.empty:
        return
    modes = known["source_mode"].value_counts()
    grey = int(modes[[mode for mode in modes.index if mode in GREY_MODES]].sum())
    yield (
        f"pictures: {len(known):,}, {grey:,} grey and {len(known) - grey:,} in colour "
        f"({', '.join(f'{mode} {count:,}' for mode, count in modes.items())})"
    )
    pairs = zip(known["source_width"], known["source_height"], strict=True)
    sizes = Counter(f"{width:.0f} x {height:.0f}" for width, height in pairs)
    yield f"sizes (width x height): {len(sizes):,} different, {_span(known)}"
    yield from _largest(sizes, "more size", "more sizes")


def _span(known: pd.DataFrame) -> str:
    axes = ((name, known[f"source_{name}"]) for name in ("width", "height"))
    return ", ".join(
        f"{name} {int(x.min())} to {int(x.max())}, median {x.median():g}" for name, x in axes
    )


def _step(step: dict[str, object]) -> str:
    fields = ", ".join(f"{name}={value}" for name, value in step.items() if name != "name")
    return f"{step['name']}({fields})"


def _levels(values: np.ndarray) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _counts(samples: Samples) -> Iterator[str]:
    for array, (column, kind) in samples.attributes["columns"].items():
        values = samples.array(array)
        classes = samples.attributes["classes"].get(column)
        if kind == "multi":
            counts, none = values.sum(axis=0, dtype=np.int64), int((~values.any(axis=1)).sum())
        elif classes is not None:
            none = int((values < 0).sum())
            counts = np.bincount(values[values >= 0], minlength=len(classes))
        else:
            yield from _range(array, column, values)
            continue
        many = counted(len(classes), "class", "classes")
        yield f"{array}: column {column!r}, {many}, {none:,} without"
        yield from _largest(
            dict(zip(classes, counts.tolist(), strict=True)), "more class", "more classes"
        )


def _range(array: str, column: str, values: np.ndarray) -> Iterator[str]:
    none = np.isnan(values) if values.dtype.kind == "f" else values == -1
    there = values[~none]
    span = f"{there.min()} to {there.max()}" if len(there) else "nothing"
    yield f"{array}: column {column!r}, {values.dtype}, {span}, {int(none.sum()):,} without"


def _largest(counts: dict[str, int], one: str, many: str) -> Iterator[str]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for name, count in ordered[:_LISTED]:
        yield f"  {count:>9,}  {named(name)}"
    if len(ordered) > _LISTED:
        rest = sum(count for _, count in ordered[_LISTED:])
        yield f"  {rest:>9,}  in {counted(len(ordered) - _LISTED, one, many)}"


def _failed(failures: pd.DataFrame) -> Iterator[str]:
    if failures.empty:
        yield "failures: none"
        return
    yield f"failures: {len(failures):,}"
    for reason, group in sorted(failures.groupby("reason"), key=lambda item: -len(item[1])):
        first = group.iloc[0]
        yield f"  {len(group):>9,}  {reason}, first row {first['row']}: {named(first['path'])}"
        yield f"             {first['message']}"


def _repeated(rows: pd.DataFrame, facts: dict[str, Any]) -> Iterator[str]:
    """Tell of pictures whose files are the same byte for byte."""
    good = rows[(rows["status"] == store.OK) & (rows["source_sha256"].fillna("") != "")]
    sizes = good.groupby("source_sha256")["row"].transform("size")
    twice = good[sizes > 1]
    if twice.empty:
        yield "byte-identical pictures: none"
        return
    groups = twice.groupby("source_sha256", sort=False)
    files = counted(groups.ngroups, "file")
    yield f"byte-identical pictures: {len(twice):,} rows of {files}"
    most = groups["row"].size().sort_values(ascending=False, kind="stable")
    yield f"  most repeated: {most.iloc[0]:,} times, first row {_first(twice, most.index[0])}"
    yield from _contradictions(facts, twice)


def _first(rows: pd.DataFrame, digest: str) -> str:
    first = rows[rows["source_sha256"] == digest].iloc[0]
    return f"{first['row']}: {named(first['path'])}"


def _contradictions(facts: dict[str, Any], twice: pd.DataFrame) -> Iterator[str]:
    columns = {column: "labels" for column, _ in facts["columns"].values()}
    if "split" in twice.columns:
        columns["split"] = "splits"
    for column, what in columns.items():
        values = twice[column].map(str)
        distinct = values.groupby(twice["source_sha256"], sort=False).nunique()
        mixed = distinct[distinct > 1]
        if len(mixed):
            yield f"  in several {what} ({column!r}): {counted(len(mixed), 'file')}"
            for digest in mixed.index[:_LISTED]:
                there = twice[twice["source_sha256"] == digest]
                shown = ", ".join(
                    f"row {r} {named(v)}" for r, v in zip(there["row"], there[column], strict=True)
                )
                yield f"    {shown}"
