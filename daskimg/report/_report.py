"""The page, put together and written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from daskimg.errors import OptionError
from daskimg.fetch import is_url, shown
from daskimg.report import _sections as sections
from daskimg.report._facts import Example, Facts, facts_of
from daskimg.report._html import STYLE
from daskimg.timeline import Timeline
from daskimg.words import counted

if TYPE_CHECKING:
    from os import PathLike

    from daskimg.store import Failure

_HEADING = re.compile(r'<h2 id="(\w+)">(.*?)</h2>')


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run knows that its store does not keep.

    Attributes
    ----------
    committed
        Whether there is a store to be read.
    lines
        Its summary in numbers: no paths.
    timeline
        When its tasks ran.
    reasons, examples
        Failed samples by reason, and the first of them, of a run that was not committed.
    command
        What was typed, without secrets.
    performance
        Where Dask's own performance report is, from this page.
    """

    committed: bool
    lines: tuple[str, ...]
    timeline: Timeline = field(default_factory=Timeline)
    reasons: dict[str, int] = field(default_factory=dict)
    examples: tuple[Failure, ...] = ()
    command: str = ""
    performance: str = ""


def html_path(path: str | PathLike[str]) -> Path:
    """Return where a page is to be written, or refuse a place where it cannot be.

    Raises
    ------
    OptionError
        If it is a URL, no HTML, or in no folder.
    """
    if is_url(str(path)):
        raise OptionError(f"a report is written to a local file, got {path}; try report.html")
    place = Path(path)
    if place.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"a report is HTML, got {path}; try {place.with_suffix('.html')}")
    if place.is_dir() or not place.parent.is_dir():
        raise OptionError(f"there is no folder {place.parent} for {path}; make it first")
    return place


def write_report(
    url: str | PathLike[str],
    path: str | PathLike[str],
    *,
    private: bool = False,
    run: Run | None = None,
) -> None:
    """Write a page about a store: one HTML file that needs nothing else.

    Parameters
    ----------
    url
        The store.
    path
        Where the page is written, in place of one that is there.
    private
        Leave out pictures, paths, addresses, the command and messages.
    run
        The run that has just built the store: without it the page has no timeline.

    Raises
    ------
    OptionError
        If there can be no such file.
    StoreError
        If there is no finished store.
    """
    place = html_path(path)
    facts = facts_of(str(url)) if run is None or run.committed else None
    place.write_text(_page(shown(str(url)), facts, run, private), encoding="utf-8")


def _page(url: str, facts: Facts | None, run: Run | None, private: bool) -> str:
    body = "".join(_body(facts, run, private))
    title = "A daskimg store" if private else url
    links = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in _headings(body))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}: daskimg report</title><style>{STYLE}</style></head><body>"
        '<a class="skip" href="#content">Skip to the report</a>'
        f'<main id="content"><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(_lead(facts, run))}</p>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>{body}</main></body></html>\n'
    )


def _headings(body: str) -> list[tuple[str, str]]:
    """Return the sections' names and titles."""
    return _HEADING.findall(body)


def _lead(facts: Facts | None, run: Run | None) -> str:
    if facts is None:
        return run.lines[0] if run else ""
    total = sum(len(samples) for samples in facts.groups)
    failed = sum(int(samples.attributes["failed"]) for samples in facts.groups)
    return f"{counted(total, 'sample')} of {counted(facts.rows, 'row')}, {failed:,} failed."


def _reasons(run: Run) -> dict[str, tuple[int, list[Example]]]:
    found: dict[str, tuple[int, list[Example]]] = {
        reason: (count, []) for reason, count in run.reasons.items()
    }
    for each in run.examples:
        found[each.reason][1].append(Example(each.row, each.path, each.message))
    return found


def _body(facts: Facts | None, run: Run | None, private: bool) -> list[str]:
    parts = [sections.asked(facts, run, private), sections.ran(run)]
    if facts is None:
        return [*parts, sections.failed(_reasons(run) if run else {}, private)]
    parts += [
        sections.failed(facts.reasons, private),
        sections.balanced(facts),
        sections.sources(facts),
        sections.levels(facts),
    ]
    if not private:
        parts.append(sections.sheet(facts.sheet()))
    return [*parts, sections.repeated(facts, private)]
