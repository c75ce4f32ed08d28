"""Proof that a store is whole: hashes, counts, and samples made again from their sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskimg import store
from daskimg.errors import OptionError, SampleError
from daskimg.plan import STAGED, Brief, Group, Layout, arrays_of
from daskimg.recipe import Recipe
from daskimg.task import KILLED, make_samples, planned_rows, read_contents, write_entry_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from daskimg.fetch import Folder
    from daskimg.task import Content, Planned


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
    commit, lines = committed.commit, committed.failures()
    statuses = [np.asarray(_array(committed, name, "status")[...]) for name in _names(committed)]
    status = np.concatenate(statuses)
    failed = int((status == store.FAILED).sum())
    good = int((status == store.OK).sum())
    pairs = [
        ("samples in the status array", len(status), commit.samples),
        ("samples not ok and not failed", len(status) - failed - good, 0),
        ("failed samples in the status array", failed, commit.failed),
        ("lines of the failures table", len(lines), commit.failed),
        ("samples of the rows table", committed.counted_samples(), commit.samples),
    ]
    for what, found, wanted in pairs:
        if found != wanted:
            yield f"{what}: {found:,}, and the commit says {wanted:,}"


def _names(committed: store.Committed) -> tuple[str, ...]:
    return committed.splits or ("",)


def _array(committed: store.Committed, group: str, name: str) -> Any:
    return committed.group[f"{group}/{name}" if group else name]


class _Drawn(NamedTuple):
    """A sample to be made again: its group, its slot there, its row and part."""

    group: int
    sample: int
    row: int
    part: int


def _recomputed(committed: store.Committed, count: int, root: str | None) -> Iterator[str]:
    if not count:
        return
    brief = _brief(committed, root)
    drawn = _spared(committed, brief, _draw(committed, brief, count))
    if not drawn:
        return
    rows = _planned(committed, sorted({each.row for each in drawn}))
    wanted: dict[int, list[_Drawn]] = {}
    for each in drawn:
        wanted.setdefault(each.row, []).append(each)
    planned = planned_rows(rows, brief)
    for one, content in zip(planned, read_contents(rows, brief), strict=True):
        for each in wanted[one.row.number]:
            yield from _compared(committed, brief, one, each, content)


def _draw(committed: store.Committed, brief: Brief, count: int) -> list[_Drawn]:
    """Return samples drawn at random from all groups, by rising row."""
    ends = np.cumsum([group.layout.samples for group in brief.groups])
    chosen = np.sort(np.random.default_rng().choice(brief.samples, count, replace=False))
    found = []
    for number, group in enumerate(brief.groups):
        first = int(ends[number]) - group.layout.samples
        mine = chosen[(chosen >= first) & (chosen < ends[number])] - first
        if not len(mine):
            continue
        rows, parts = (
            np.asarray(_array(committed, group.name, name).oindex[mine])
            for name in ("row", "part")
        )
        columns = (column.tolist() for column in (mine, rows, parts))
        found += [_Drawn(number, *each) for each in zip(*columns, strict=True)]
    return sorted(found, key=lambda each: (each.row, each.part))


def _spared(committed: store.Committed, brief: Brief, drawn: list[_Drawn]) -> list[_Drawn]:
    """Leave out samples of rows that killed their worker: they would kill this process, too."""
    failures = committed.failures().to_pandas()
    killers = failures[failures["reason"] == KILLED.reason]
    places = (
        zip(killers["split"], killers["sample"], strict=True)
        if "split" in killers
        else (("", sample) for sample in killers["sample"])
    )
    deadly = set(places)
    return [each for each in drawn if (brief.groups[each.group].name, each.sample) not in deadly]


def _planned(committed: store.Committed, numbers: list[int]) -> pd.DataFrame:
    """Return lines of the rows table as tasks are given them; sizes as they were found."""
    rows = committed.rows_at(np.array(numbers))
    sizes = (rows[f"source_{name}"].fillna(0).astype(int) for name in ("height", "width"))
    columns = (rows["first_sample"], rows["samples"], *sizes)
    return rows.assign(**dict(zip(STAGED[1:], columns, strict=True)))


def _compared(
    committed: store.Committed,
    brief: Brief,
    planned: Planned,
    drawn: _Drawn,
    content: Content | SampleError,
) -> Iterator[str]:
    """Make one sample again, and say what differs from the stored one."""
    group = brief.groups[drawn.group]
    slot = group.path(f"sample {drawn.sample}")
    if drawn.part not in range(planned.samples) or drawn.part != drawn.sample - planned.first:
        own = f"{planned.samples:,} from {planned.first:,} on"
        yield f"{slot} is not of row {drawn.row}, which has {own}"
        return
    status = int(_array(committed, group.name, "status")[drawn.sample])
    who = f"{slot} (row {drawn.row}, {planned.row.path})"
    try:
        if isinstance(content, SampleError):
            raise content
        part = range(drawn.part, drawn.part + 1)
        (made,), _ = make_samples(brief, group, planned, content, part)
        if isinstance(made, SampleError):
            raise made
        again = [np.empty(spec.shape, spec.dtype) for spec in group.arrays]
        for spec, entry in zip(group.arrays, again, strict=True):
            write_entry_of(made, spec, entry)
    except SampleError as error:
        if status != store.FAILED:
            yield f"{who} is ok in the store, and now fails: {error}"
        return
    if status == store.FAILED:
        yield f"{who} failed in the store, and can be made now"
        return
    for spec, entry in zip(group.arrays, again, strict=True):
        stored = np.asarray(_array(committed, group.name, spec.name)[drawn.sample])
        if not np.array_equal(stored, entry, equal_nan=entry.dtype.kind == "f"):
            yield f"{who}: {spec.name} differs in {int((stored != entry).sum()):,} values"


def _brief(committed: store.Committed, root: str | None) -> Brief:
    """Return what tasks were told, as far as making a sample needs it."""
    stored = store.read_plan(committed.folder)
    recipe = Recipe.from_dict(stored.recipe)
    groups: list[Group] = []
    for given in stored.groups:
        name, layout = given["name"], Layout(**{k: v for k, v in given.items() if k != "name"})
        own = recipe.of(name)
        first = groups[-1].shards.stop if groups else 0
        groups.append(Group(name, own, arrays_of(own.outputs()[0]), (), layout, first))
    return Brief(
        url=committed.folder.url,
        run=stored.run,
        root=stored.root if root is None else root,
        bytes_column=stored.bytes_column,
        extensions=tuple(stored.extensions),
        rows=stored.rows,
        groups=tuple(groups),
        measured=stored.measured,
        columns=tuple((column, name) for column, name in stored.columns),
        labels=(),
        compiled=False,
        generation=stored.generation if root is None else None,  # elsewhere it is another
    )
