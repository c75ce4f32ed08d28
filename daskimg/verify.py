"""Proof that a store is whole: hashes, counts, and samples made again from their sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from daskimg import store
from daskimg.errors import OptionError, SampleError
from daskimg.plan import Brief, Layout, arrays_of
from daskimg.recipe import Recipe, Row
from daskimg.task import make_samples, read_contents, write_entry_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.fetch import Folder


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes
    ----------
    url
        The store.
    objects, recomputed
        Objects whose hash was compared; samples that were made again.
    findings
        A line for each thing that is not as it was committed; empty if the store is whole.
    """

    url: str
    objects: int
    recomputed: int
    findings: tuple[str, ...]


def verify_store(url: str, *, rows: int = 0, root: str | None = None) -> Verification:
    """Compare a store with its last commit, and samples of it with their sources.

    Parameters
    ----------
    url
        The store.
    rows
        Samples, drawn at random, to fetch, decode and transform again and to compare bit by bit.
    root
        What relative paths are relative to now; by default where they were at the build.

    Raises
    ------
    StoreError
        If there is no finished store.
    """
    if rows < 0:
        raise OptionError(f"--rows must be at least 0, got {rows}")
    folder, commit = store.find_commit(url)
    found = [f"{name} {fault}" for name, fault in store.findings(folder, commit)]
    found += _unlisted(folder, commit)
    recomputed = 0
    if not found:  # counts of damaged arrays would only repeat the above
        committed = store.open_committed(url)
        found += _counts(committed)
        recomputed = min(rows, commit.samples)
        found += _recomputed(committed, recomputed, root)
    return Verification(folder.url, len(commit.objects), recomputed, tuple(found))


def _unlisted(folder: Folder, commit: store.Commit) -> Iterator[str]:
    """Name objects among the arrays' that no commit lists: a reader would take them for data."""
    for name in folder.sizes():
        if name not in commit.objects and not name.startswith(f"{store.RECORDS}/"):
            yield f"{name} is not an object of the last commit"


def _counts(committed: store.Committed) -> Iterator[str]:
    """Compare the counts that the store gives in several places."""
    status: np.ndarray = np.asarray(committed.group["status"][...])  # type: ignore[index]
    failed = int((status == store.FAILED).sum())
    commit, lines = committed.commit, committed.failures()
    pairs = [
        ("samples in the status array", len(status), commit.samples),
        (
            "samples not ok and not failed",
            len(status) - failed - int((status == store.OK).sum()),
            0,
        ),
        ("failed samples in the status array", failed, commit.failed),
        ("lines of the failures table", len(lines), commit.failed),
        ("samples of the rows table", committed.counted_samples(), commit.samples),
    ]
    for what, found, wanted in pairs:
        if found != wanted:
            yield f"{what}: {found:,}, and the commit says {wanted:,}"


def _recomputed(committed: store.Committed, count: int, root: str | None) -> Iterator[str]:
    if not count:
        return
    brief = _brief(committed, root)
    chosen = np.random.default_rng().permutation(brief.layout.samples)[:count]
    rows = committed.rows_at(np.unique(chosen // brief.parts))
    wanted: dict[int, list[int]] = {}
    for sample in sorted(chosen.tolist()):
        wanted.setdefault(sample // brief.parts, []).append(sample)
    for line, content in zip(rows.itertuples(), read_contents(rows, brief), strict=True):
        row = Row(int(str(line.row)), str(line.path))
        for sample in wanted[row.number]:
            yield from _compared(committed, brief, row, sample, content)


def _compared(
    committed: store.Committed, brief: Brief, row: Row, sample: int, content: bytes | SampleError
) -> Iterator[str]:
    """Make one sample again, and say what differs from the stored one."""
    status = int(committed.group["status"][sample])  # type: ignore[index,arg-type]
    who = f"sample {sample} (row {row.number}, {row.path})"
    try:
        if isinstance(content, SampleError):
            raise content
        made = make_samples(brief, row, content)[0][sample - row.number * brief.parts]
    except SampleError as error:
        if status != store.FAILED:
            yield f"{who} is ok in the store, and now fails: {error}"
        return
    if status == store.FAILED:
        yield f"{who} failed in the store, and can be made now"
        return
    for spec in brief.sharded:
        stored = np.asarray(committed.group[spec.name][sample])  # type: ignore[index]
        again = np.empty(spec.shape, spec.dtype)
        write_entry_of(made, spec, again)
        if not np.array_equal(stored, again):
            yield f"{who}: {spec.name} differs in {int((stored != again).sum()):,} values"


def _brief(committed: store.Committed, root: str | None) -> Brief:
    """Return what tasks were told, as far as making a sample needs it."""
    stored = store.read_plan(committed.folder)
    recipe = Recipe.from_dict(stored.recipe)
    pixels = stored.pixels
    return Brief(
        url=committed.folder.url,
        run=stored.run,
        root=stored.root if root is None else root,
        bytes_column=stored.bytes_column,
        rows=stored.rows,
        parts=stored.parts,
        recipe=recipe,
        arrays=arrays_of(recipe.outputs()[0]),
        labels=(),
        layout=Layout(
            stored.samples, pixels["shard samples"], pixels["chunk samples"], pixels["codec"]
        ),
        compiled=False,
    )
