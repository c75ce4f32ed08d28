"""A finished store in words: what it is, its classes, what failed, what is there twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskimg import store

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from daskimg.read import Samples

_LISTED = 20  # classes, and groups of equal pictures, that are named


def describe(samples: Samples) -> Iterator[str]:
    """Yield the lines of ``daskimg show``."""
    yield from _what(samples)
    yield from _counts(samples)
    yield from _failed(samples)
    yield from _repeated(samples)


def _what(samples: Samples) -> Iterator[str]:
    image, facts = samples.image, samples.attributes
    shape = " x ".join(str(length) for length in image.shape[1:])
    yield samples.url
    yield f"  {len(samples):,} samples of {shape} {image.dtype}, {facts['failed']:,} failed"
    shard, chunk = (image.shards or image.chunks)[0], image.chunks[0]
    yield f"  shards of {shard:,}, chunks of {chunk:,} samples"
    steps = " > ".join(_step(step) for step in facts["recipe"]["transform"])
    exact = "exact" if facts["recipe"]["decode"]["exact"] else "scaled"
    yield f"  recipe {steps or 'none'}; seed {facts['seed']}; {exact} decoding"
    if samples.mean is not None and samples.std is not None:
        yield f"  mean {_levels(samples.mean)}, std {_levels(samples.std)} of 0..1"
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    yield f"  commit {facts['commit']}; {versions}"


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
        yield f"{array}: column {column!r}, {len(classes):,} classes, {none:,} without"
        yield from _largest(dict(zip(classes, counts.tolist(), strict=True)))


def _range(array: str, column: str, values: np.ndarray) -> Iterator[str]:
    none = np.isnan(values) if values.dtype.kind == "f" else values == -1
    there = values[~none]
    span = f"{there.min()} to {there.max()}" if len(there) else "nothing"
    yield f"{array}: column {column!r}, {values.dtype}, {span}, {int(none.sum()):,} without"


def _largest(counts: dict[str, int]) -> Iterator[str]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for name, count in ordered[:_LISTED]:
        yield f"  {count:>9,}  {name}"
    if len(ordered) > _LISTED:
        rest = sum(count for _, count in ordered[_LISTED:])
        yield f"  {rest:>9,}  in {len(ordered) - _LISTED:,} more classes"


def _failed(samples: Samples) -> Iterator[str]:
    failures = samples.failures
    if failures.empty:
        yield "failures: none"
        return
    yield f"failures: {len(failures):,}"
    for reason, group in sorted(failures.groupby("reason"), key=lambda item: -len(item[1])):
        first = group.iloc[0]
        yield f"  {len(group):>9,}  {reason}, first row {first['row']}: {first['path']}"
        yield f"             {first['message']}"


def _repeated(samples: Samples) -> Iterator[str]:
    """Tell of pictures whose files are the same byte for byte."""
    rows = samples.rows
    good = rows[(rows["status"] == store.OK) & (rows["source_sha256"] != "")]
    sizes = good.groupby("source_sha256")["row"].transform("size")
    twice = good[sizes > 1]
    if twice.empty:
        yield "byte-identical pictures: none"
        return
    groups = twice.groupby("source_sha256", sort=False)
    yield f"byte-identical pictures: {len(twice):,} rows of {groups.ngroups:,} files"
    most = groups["row"].size().sort_values(ascending=False, kind="stable")
    yield f"  most repeated: {most.iloc[0]:,} times, first row {_first(twice, most.index[0])}"
    yield from _contradictions(samples, twice)


def _first(rows: pd.DataFrame, digest: str) -> str:
    first = rows[rows["source_sha256"] == digest].iloc[0]
    return f"{first['row']}: {first['path']}"


def _contradictions(samples: Samples, twice: pd.DataFrame) -> Iterator[str]:
    columns = {column: "labels" for column, _ in samples.attributes["columns"].values()}
    if "split" in twice.columns:
        columns["split"] = "splits"
    for column, what in columns.items():
        values = twice[column].map(str)
        distinct = values.groupby(twice["source_sha256"], sort=False).nunique()
        mixed = distinct[distinct > 1]
        if len(mixed):
            yield f"  in several {what} ({column!r}): {len(mixed):,} files"
            for digest in mixed.index[:_LISTED]:
                there = twice[twice["source_sha256"] == digest]
                shown = ", ".join(
                    f"row {r} {v}" for r, v in zip(there["row"], there[column], strict=True)
                )
                yield f"    {shown}"
