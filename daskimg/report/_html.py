"""Pieces of HTML: tables that read aloud, and the look of the page."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Cell = str | int | float

_NUMBER = re.compile(r"[\d.,]+%?")
STYLE = files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def section(name: str, title: str, *parts: str) -> str:
    """Return a section with a heading of the second level, to be linked to."""
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>'
        f"{''.join(parts)}</section>"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    return f"<p{f' class={kind!r}' if kind else ''}>{escape(text)}</p>"


def table(
    caption: str,
    head: Sequence[str],
    lines: Iterable[Sequence[Cell]],
    *,
    bars: Sequence[float] | None = None,
    most: float | None = None,
    kind: str = "",
) -> str:
    """Return a table whose first column names its lines.

    Parameters
    ----------
    caption, head
        What it shows, and what each column does.
    lines
        Numbers are set flush right.
    bars
        A length for each line, drawn behind it: for the eye, since the number is there.
    most
        The length of a whole bar; by default the longest.
    kind
        A class of the stylesheet.
    """
    rows = [list(line) for line in lines]
    numbers = [all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    longest = most or max(bars or [0.0]) or 1.0
    drawn = [_bar(length / longest) for length in bars] if bars is not None else [""] * len(rows)
    top = "".join(
        f'<th scope="col"{_kind(number)}>{escape(name)}</th>'
        for name, number in zip(head, numbers, strict=True)
    )
    top += '<td aria-hidden="true"></td>' if bars is not None else ""
    body = "".join(_line(row, numbers, bar) for row, bar in zip(rows, drawn, strict=True))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table{f' class={kind!r}' if kind else ''}><caption>{escape(caption)}</caption>"
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def pairs(caption: str, lines: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and their values."""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="text">{escape(value)}</td></tr>'
        for name, value in lines
    )
    return (
        f"<table class='pairs'><caption>{escape(caption)}</caption><tbody>{body}</tbody></table>"
    )


def _line(row: list[Cell], numbers: list[bool], bar: str) -> str:
    first, *others = (f"{cell:,}" if isinstance(cell, int | float) else cell for cell in row)
    cells = "".join(
        f"<td{_kind(number) or ' class=text'}>{escape(str(cell))}</td>"
        for cell, number in zip(others, numbers[1:], strict=True)
    )
    return f'<tr><th scope="row"{_kind(numbers[0])}>{escape(str(first))}</th>{cells}{bar}</tr>'


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or bool(_NUMBER.fullmatch(cell))


def _kind(number: bool) -> str:
    return ' class="number"' if number else ""


def _bar(share: float) -> str:
    drawn = f'<span class="bar" style="width:{share:.1%}"></span>'
    return f'<td class="bars" aria-hidden="true">{drawn}</td>'
