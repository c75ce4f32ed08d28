"""The plan told: as a table of two columns for people, as numbers for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskimg import fetch, markup
from daskimg.plan._expansion import Listed
from daskimg.words import megabytes, named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.manifest import Label
    from daskimg.plan._brief import Group
    from daskimg.plan._plan import Plan

_HELD = 8  # bytes a pixel of a source, while it is decoded and made an array


def lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the plan as a table of two columns, for people."""
    yield "manifest", f"{plan.manifest.source}: {plan.facts.rows:,} rows"
    yield "samples", _counts(plan.sizes)
    yield from _expanded(plan)
    for group in plan.groups:
        yield from _group_lines(group)
    for label in plan.facts.labels:
        yield f"label {label.column!r}", _described(label)
    yield "bytes written", megabytes(plan.written_bytes)
    for mention in plan.facts.mentions:
        yield "note", mention
    columns = _other_columns(plan)
    if columns and not plan.facts.labels:
        more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
        yield (
            "note",
            f"no label column: labels are all -1; name one with --label: "
            f"{', '.join(map(named, columns[:20]))}{more}",
        )
    if plan.split is None and plan.recipe.splits:
        unused = ", ".join(name for name, _ in plan.recipe.splits)
        yield "note", f"the recipe's steps for {unused} are not used: there is no --split"
    yield "store", fetch.shown(plan.url)


def _other_columns(plan: Plan) -> list[str]:
    """Return the table's columns that nothing reads: one of them may be meant as the label."""
    manifest = plan.manifest
    table, choice = manifest.table, manifest.choice
    split = plan.split.column if plan.split else None
    used = {choice.path, choice.key, split, *table.binary, *table.observed, *plan.recipe.columns}
    return [name for name in table.columns if name not in used]


def page(plan: Plan) -> str:
    """Return the plan as a page for a notebook: the table, and how many rows each class has."""
    histograms = [
        markup.bars(_by_count(label), f"rows by {label.column}", "more classes")
        for label in plan.facts.labels
        if label.classes and label.counts
    ]
    return markup.block(
        "Plan: nothing has been written yet", markup.facts(lines(plan)), *histograms
    )


def _by_count(label: Label) -> dict[str, int]:
    pairs = zip(label.classes, label.counts, strict=True)
    counts = dict(sorted(pairs, key=lambda pair: -pair[1]))
    return counts | ({"(none)": label.empties} if label.empties else {})


def plain(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain data; see ``Plan.to_json``."""
    layouts = [group.layout for group in plan.groups]
    return {
        "manifest": plan.manifest.source,
        "store": fetch.shown(plan.url),
        "rows": plan.facts.rows,
        "rows_without_sample": plan.empty_rows,
        "samples": plan.samples,
        "splits": {name: count for name, count in plan.sizes.items() if name},
        "arrays": {path: spec for group in plan.groups for path, spec in _arrays(group)},
        "labels": {label.array: _label(label) for label in plan.facts.labels},
        "shards": plan.shards,
        "shard_samples": max(layout.shard for layout in layouts),
        "chunk_samples": max(layout.chunk for layout in layouts),
        "codec": layouts[0].codec,
        "bytes": plan.written_bytes,
        "shard_bytes": plan.shard_bytes,
        "objects": plan.objects,
        "decodes_per_source": decodes(plan),
        "task_bytes": task_bytes(plan),
        "notes": [text for name, text in lines(plan) if name == "note"],
    }


def _arrays(group: Group) -> Iterator[tuple[str, dict[str, Any]]]:
    for array in (*group.sharded, *group.small):
        yield (
            group.path(array.name),
            {
                "shape": [group.layout.samples, *array.shape],
                "axes": ["sample", *array.axes],
                "dtype": array.dtype,
            },
        )


def _label(label: Label) -> dict[str, Any]:
    return {
        "column": label.column,
        "kind": label.kind,
        "classes": len(label.classes),
        "empty": label.empties,
    }


def decodes(plan: Plan) -> float:
    """Return how often a picture is decoded: again for each further shard that it reaches."""
    found = plan.expansion
    if isinstance(found, Listed):
        once = found.rows - found.empty
        again = sum(found.straddles(i, g.layout) for i, g in enumerate(plan.groups))
        return (once + again) / max(1, once)
    spans = found.spans(0, plan.groups[0].layout)
    return sum(stop - first for first, stop in spans) / found.rows


def task_bytes(plan: Plan) -> int | None:
    """Return the most that a task holds: its shard, and the largest picture if that is known."""
    found = plan.expansion
    if not isinstance(found, Listed) or not found.measured:
        return None
    return plan.shard_bytes + _HELD * min(found.largest, plan.recipe.decode.max_pixels)


def _expanded(plan: Plan) -> Iterator[tuple[str, str]]:
    found = plan.expansion
    if found.empty:
        yield "without a sample", f"{found.empty:,} rows"
    held = task_bytes(plan)
    if held is None:
        return
    yield "decodes", f"up to {decodes(plan):.2f} per source; large ones once a worker"
    yield "memory of a task", f"up to {megabytes(held)}"
    if isinstance(found, Listed) and found.refused:
        yield (
            "note",
            f"{found.refused:,} pictures have over {plan.recipe.decode.max_pixels:,} pixels and "
            f"will fail; --max-pixels takes larger ones",
        )


def _counts(sizes: dict[str, int]) -> str:
    parts = ", ".join(f"{name} {count:,}" for name, count in sizes.items() if name)
    return f"{sum(sizes.values()):,}" + (f" ({parts})" if parts else "")


def _group_lines(group: Group) -> Iterator[tuple[str, str]]:
    for array in group.arrays:
        axes = " x ".join(str(length) for length in array.shape) or "scalar"
        yield group.path(array.name), f"{axes} {array.dtype} ({', '.join(array.axes)})"
    layout = group.layout
    yield (
        group.path("shards"),
        (
            f"{layout.shards:,} of {layout.shard:,} samples ({megabytes(group.shard_bytes)}), "
            f"chunks of {layout.chunk:,}, codec {layout.codec}"
        ),
    )


def _described(label: Label) -> str:
    text = f"{label.kind} -> {label.array} {label.dtype}"
    if label.classes:
        text += f", {len(label.classes):,} classes"
    return text + (f", {label.empties:,} empty" if label.empties else "")
