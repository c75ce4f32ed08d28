"""The sections of a report, in the order in which people ask."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any

import tomli_w

from daskimg.decode import encode_thumbnail
from daskimg.report._charts import legend, stages, tasks, throughput
from daskimg.report._html import pairs, paragraph, section, table
from daskimg.timeline import STAGES
from daskimg.words import counted, megabytes, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from daskimg.read import Samples
    from daskimg.report._facts import Example, Facts, Repeated, Shown
    from daskimg.report._report import Run
    from daskimg.timeline import Timeline

_CLASSES = 1000  # of a label column that are listed
_OPEN = 25  # of them that are seen at once


def asked(facts: Facts | None, run: Run | None, private: bool) -> str:
    """Return what was asked: the command, the recipe, the versions."""
    lines = []
    if run and run.command and not private:
        lines.append(("command", run.command))
    if facts is None:
        return section("asked", "What was asked", pairs("The run", lines)) if lines else ""
    own = facts.attributes
    lines += [
        ("decoding", "exact" if own["recipe"]["decode"]["exact"] else "scaled"),
        ("seed", str(own["seed"])),
        *((samples.split or "samples", _shape(samples)) for samples in facts.groups),
        ("versions", ", ".join(f"{name} {number}" for name, number in own["versions"].items())),
        ("commit", str(own["commit"])),
    ]
    text = escape(tomli_w.dumps(own["recipe"]))
    recipe = f'<h3>Recipe</h3><pre tabindex="0" aria-label="recipe in TOML">{text}</pre>'
    return section("asked", "What was asked", pairs("What the store was made with", lines), recipe)


def _shape(samples: Samples) -> str:
    shape = " x ".join(str(length) for length in samples.image.shape)
    return f"{shape} {samples.image.dtype}, {samples.attributes['failed']:,} failed"


def ran(run: Run | None) -> str:
    """Return when tasks ran, and where their time went."""
    if run is None:
        words = "Made from the store alone, which does not keep when its tasks ran."
        parts = [paragraph(words, "soft")]
    else:
        parts = [_summary(run)]
        if run.timeline.seconds:
            parts += _timeline(run.timeline)
        if run.performance:
            link = f'<a href="{escape(run.performance)}">Dask\'s own performance report</a>'
            parts.append(f"<p>{link} has the tasks, the bandwidths and the profiles.</p>")
    return section("run", "The run", *parts)


def _summary(run: Run) -> str:
    return f"<pre>{escape(chr(10).join(run.lines))}</pre>"


def _timeline(timeline: Timeline) -> Iterator[str]:
    yield f"<h3>Throughput</h3>{throughput(timeline)}"
    yield f"<h3>Tasks</h3>{tasks(timeline)}"
    yield f"<h3>Time by stage</h3>{stages(timeline)}{legend()}"
    shares = timeline.shares()
    lines = [(s, f"{timeline.stages[s]:,.2f}", f"{shares[s]:.1%}") for s in STAGES]
    yield table("Seconds of all tasks", ["stage", "seconds", "share"], lines)
    yield paragraph(f"The run was limited by {timeline.limit()}.")


def failed(reasons: Mapping[str, tuple[int, Sequence[Example]]], private: bool) -> str:
    """Return the failures by reason, with examples."""
    if not reasons:
        return section("failures", "Failures", paragraph("No sample failed."))
    counts = [count for count, _ in reasons.values()]
    parts = [
        table(
            "Failed samples by reason", ["reason", "samples"],
            list(zip(reasons, counts, strict=True)), bars=counts, kind="bad",
        )
    ]  # fmt: skip
    if not private:  # messages may have names of files in them
        lines = [
            (reason, each.row, named(each.path), each.message)
            for reason, (_, examples) in reasons.items()
            for each in examples
        ]
        head = ["reason", "row", "path", "what was found"]
        parts.append(table("The first rows of each reason", head, lines))
    return section("failures", "Failures", *parts)


def balanced(facts: Facts) -> str:
    """Return the samples of each class and split."""
    parts = [_balance(column, counts, facts) for column, counts in facts.balance.items()]
    return section("classes", "Classes", *(parts or [paragraph("No label column has classes.")]))


def _balance(column: str, counts: dict[str, list[int]], facts: Facts) -> str:
    groups = [samples.split or "samples" for samples in facts.groups]
    ordered = sorted(counts.items(), key=lambda item: (-sum(item[1]), item[0]))
    seen, more = ordered[:_OPEN], ordered[_OPEN:_CLASSES]
    title = f"{column}: {counted(len(counts), 'class', 'classes')}"
    most = float(sum(ordered[0][1])) if ordered else 0.0
    found = [_classes(title, groups, seen, most)]
    if more:
        rest = _classes(f"{column}: the others", groups, more, most)
        words = f"{counted(len(ordered) - len(seen), 'more class', 'more classes')}"
        found.append(f"<details><summary>{words}</summary>{rest}</details>")
    if len(ordered) > _CLASSES:
        found.append(
            paragraph(f"The {len(ordered) - _CLASSES:,} smallest are not listed.", "soft")
        )
    return "".join(found)


def _classes(
    title: str, groups: list[str], lines: list[tuple[str, list[int]]], most: float
) -> str:
    totals = [float(sum(line)) for _, line in lines]
    return table(
        title, ["class", *groups], [(name, *line) for name, line in lines], bars=totals, most=most
    )


def sources(facts: Facts) -> str:
    """Return the modes and the sizes of the pictures."""
    files = counted(facts.rows, "row")
    parts = [paragraph(f"{files}, {megabytes(facts.source_bytes)} of pictures.")]
    if facts.modes:
        counts = list(facts.modes.values())
        lines = list(facts.modes.items())
        parts.append(table("Pictures by mode", ["mode", "pictures"], lines, bars=counts))
    if facts.sides:
        wide = [counts[0] for counts in facts.sides.values()]
        lines_ = [(name, *counts) for name, counts in facts.sides.items()]
        head = ["pixels", "pictures so wide", "pictures so high"]
        parts.append(table("Pictures by size; the bar is of widths", head, lines_, bars=wide))
    return section("sources", "Sources", *parts)


def levels(facts: Facts) -> str:
    """Return mean and standard deviation by split and channel."""
    lines = [
        (samples.split or "samples", channel, f"{mean:.5f}", f"{std:.5f}")
        for samples in facts.groups
        if samples.mean is not None and samples.std is not None
        for channel, (mean, std) in enumerate(zip(samples.mean, samples.std, strict=True))
    ]
    if not lines:
        return ""
    head = ["samples of", "channel", "mean", "standard deviation"]
    return section("levels", "Levels", table("Of the good samples, 0 to 1", head, lines))


def sheet(shown: Sequence[Shown]) -> str:
    """Return a contact sheet of samples as they are in the store."""
    figures = "".join(f"<li>{_figure(each)}</li>" for each in shown)
    words = paragraph(f"{counted(len(shown), 'sample')} from all over the store, in order.")
    return section("samples", "Samples", words, f'<ul class="sheet">{figures}</ul>')


def _figure(shown: Shown) -> str:
    source = b64encode(encode_thumbnail(shown.pixels)).decode()
    words = escape(shown.caption)
    image = f'<img src="data:image/jpeg;base64,{source}" alt="sample of {words}"/>'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def repeated(facts: Facts, private: bool) -> str:
    """Return what is there twice, and what several splits have."""
    if not facts.twice:
        words = paragraph("No two rows have the same file, byte for byte.")
        return section("duplicates", "Duplicates", words)
    parts = [paragraph(f"{facts.twice:,} rows have one of {counted(facts.files, 'file')}.")]
    parts += [
        paragraph(f"{counted(count, 'file')} with several values of {column!r}.")
        for column, count in facts.contradicted.items()
        if count
    ]
    if facts.crossing:
        files = counted(facts.crossing, "file is", "files are")
        parts.append(paragraph(f"{files} in several splits: what is tested on was trained on."))
        head = ["file", "rows", "splits"] + ([] if private else ["paths"])
        lines = [_crossing(n, each, private) for n, each in enumerate(facts.across, 1)]
        parts.append(table("Files in several splits", head, lines))
    elif len(facts.groups) > 1:
        parts.append(paragraph("None of them is in several splits."))
    return section("duplicates", "Duplicates", *parts)


def _crossing(number: int, found: Repeated, private: bool) -> list[Any]:
    rows = ", ".join(f"{row:,}" for row in found.rows)
    line = [number, rows, ", ".join(dict.fromkeys(found.splits))]
    return line if private else [*line, ", ".join(map(named, dict.fromkeys(found.paths)))]
