"""Some rows decoded before the build, so that a table that cannot work is refused early."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daskimg import fetch
from daskimg.errors import SampleError
from daskimg.plan import STAGED
from daskimg.task._contents import read_contents
from daskimg.task._rows import planned_rows
from daskimg.task._samples import make_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from daskimg.plan import Brief, Group, Plan
    from daskimg.task._contents import Content
    from daskimg.task._rows import Planned

_TOO_LARGE = 1 << 26  # pixels of a picture that is not decoded for a trial: its header was read


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of decoding some rows before the build.

    Attributes
    ----------
    tried, failed
        Rows tried; rows that failed.
    source_bytes
        Bytes of those that worked.
    first, message
        The first resolved path, and the first failure's message, for advice. Without a row to
        try, since none of the plan's few gives a sample, both are empty.
    reasons
        Failures by reason.
    """

    tried: int
    failed: int
    source_bytes: int
    first: str
    message: str
    reasons: dict[str, int] = field(default_factory=dict)


def try_rows(plan: Plan, *, thorough: bool) -> Trial:
    """Fetch and decode a sample of the rows; nothing is written.

    Parameters
    ----------
    plan
        Its ``facts.sample`` are the rows.
    thorough
        Try them all; otherwise stop at the first that works, which is all a build asks.

    Raises
    ------
    TransportError, TransformError
        As a task would.
    """
    return try_some(rows_to_try(plan), plan.brief(run=""), thorough=thorough)


def try_some(rows: pd.DataFrame, brief: Brief, *, thorough: bool) -> Trial:
    """Fetch and decode rows that ``rows_to_try`` returned, with what tasks are told."""
    tried = source_bytes = 0
    message = ""
    reasons: Counter[str] = Counter()
    if rows.empty:  # of a table that filters leave little of; headers were read, at least
        return Trial(0, 0, 0, "", "")
    planned = planned_rows(rows, brief)
    groups = rows[STAGED[0]].tolist()
    contents = read_contents(rows, brief) if thorough else _one_by_one(rows, brief)
    for each, number, content in zip(planned, groups, contents, strict=True):
        tried += 1
        try:
            source_bytes += _attempt(brief, brief.groups[number], each, content)
        except SampleError as error:
            reasons[error.reason] += 1
            message = message or error.message
            continue
        if not thorough:
            break
    first = rows["path"].iloc[0]
    return Trial(
        tried=tried,
        failed=reasons.total(),
        source_bytes=source_bytes,
        first=fetch.shown(fetch.join(brief.root, first)) if first else "(an empty cell)",
        message=message,
        reasons=dict(reasons.most_common()),
    )


def _one_by_one(rows: pd.DataFrame, brief: Brief) -> Iterator[Content | SampleError]:
    """Yield what rows point at, none ahead: the first that works is the last that is read."""
    for i in range(len(rows)):
        yield from read_contents(rows.iloc[i : i + 1], brief)


def rows_to_try(plan: Plan) -> pd.DataFrame:
    """Return the rows to be tried: those of the sample that give one."""
    rows = plan.facts.sample.copy()
    places = [plan.expansion.places(row, row + 1) for row in rows["row"].tolist()]
    for i, name in enumerate(STAGED):
        rows[name] = [each[i][0] for each in places]
    return rows[rows[STAGED[2]] > 0]


def _attempt(brief: Brief, group: Group, each: Planned, content: Content | SampleError) -> int:
    if isinstance(content, SampleError):
        raise content
    if each.height * each.width > _TOO_LARGE:
        return len(content.picture)
    (made,), _ = make_samples(brief, group, each, content, range(1))
    if isinstance(made, SampleError):
        raise made
    return len(content.picture)
