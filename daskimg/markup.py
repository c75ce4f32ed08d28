"""What a notebook shows, as HTML that needs nothing else: tables, bars, pictures.

Colours are those of the page, so that light and dark themes both do. Tables have headers that
a screen reader tells, pictures a text in their place.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LEFT = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"
_RIGHT = "text-align:right;vertical-align:top;padding:2px 12px 2px 0;white-space:nowrap"
_CAPTION = "text-align:left;caption-side:top;font-weight:bold;padding:4px 0"
_BAR = "background:currentColor;opacity:.45;height:.8em;margin-top:.25em;border-radius:2px"
_LISTED = 20  # bars of a histogram
_NARROW = 132  # pixels that a picture's words have at least
_LETTERS = 60  # of a bar's name


def block(title: str, *parts: str) -> str:
    """Return parts one below another, under a title."""
    return f"<div><p style='margin:4px 0'><b>{escape(title)}</b></p>{''.join(parts)}</div>"


def paragraph(text: str) -> str:
    """Return a line of words."""
    return f"<p style='margin:4px 0'>{escape(text)}</p>"


def preformatted(text: str, label: str) -> str:
    """Return text in which columns and lines count, as TOML, behind a label that opens it."""
    return f"<details><summary>{escape(label)}</summary><pre>{escape(text)}</pre></details>"


def facts(pairs: Iterable[tuple[str, str]], caption: str = "") -> str:
    """Return a table of two columns: names, and what is said of each."""
    lines = "".join(
        f"<tr><th scope='row' style='{_RIGHT}'>{escape(name)}</th>"
        f"<td style='{_LEFT}'>{escape(text)}</td></tr>"
        for name, text in pairs
    )
    return f"<table>{_captioned(caption)}<tbody>{lines}</tbody></table>"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]], caption: str = "") -> str:
    """Return a table with a line of headers; the first cell of each line names it."""
    head = "".join(f"<th scope='col' style='{_LEFT}'>{escape(each)}</th>" for each in heads)
    body = "".join(_line(cells) for cells in lines)
    return (
        f"<table>{_captioned(caption)}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _line(cells: Sequence[str]) -> str:
    first, *others = map(escape, cells)
    rest = "".join(f"<td style='{_LEFT}'>{cell}</td>" for cell in others)
    return f"<tr><th scope='row' style='{_LEFT}'>{first}</th>{rest}</tr>"


def grid(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are HTML already, as figures."""
    head = "".join(f"<th scope='col' style='{_LEFT}'>{escape(each)}</th>" for each in heads)
    body = "".join(
        f"<tr><th scope='row' style='{_LEFT};max-width:160px;overflow-wrap:anywhere'>{first}</th>"
        + "".join(f"<td style='{_LEFT}'>{cell}</td>" for cell in others)
        + "</tr>"
        for first, *others in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def bars(counts: Mapping[str, int], caption: str, more: str) -> str:
    """Return a histogram: a name, a count and a bar a line.

    Parameters
    ----------
    counts
        By name, in the order wished.
    caption
        What is counted.
    more
        What those are called that are not shown, as ``more classes``.
    """
    shown = dict(list(counts.items())[:_LISTED])
    rest = sum(counts.values()) - sum(shown.values())
    if len(counts) > _LISTED:
        shown[f"{len(counts) - _LISTED:,} {more}"] = rest
    most = max(shown.values(), default=0)
    lines = "".join(
        f"<tr><th scope='row' style='{_RIGHT}'>{escape(_shortened(name))}</th>"
        f"<td style='{_RIGHT}'>{count:,}</td>"
        f"<td style='{_LEFT};width:240px'><div aria-hidden='true' "
        f"style='{_BAR};width:{100 * count / max(most, 1):.1f}%'></div></td></tr>"
        for name, count in shown.items()
    )
    return f"<table>{_captioned(caption)}<tbody>{lines}</tbody></table>"


def _shortened(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 3]}..."


def _captioned(caption: str) -> str:
    return f"<caption style='{_CAPTION}'>{escape(caption)}</caption>" if caption else ""


def figure(content: bytes, size: tuple[int, int], caption: str, alt: str = "") -> str:
    """Return a picture, PNG or JPEG, with words below it.

    Parameters
    ----------
    content
        The file.
    size
        Height and width, in pixels.
    caption
        Below it.
    alt
        Said in its place; by default the caption.
    """
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    source = b64encode(content).decode()
    height, width = size
    below = f"<figcaption><small>{escape(caption)}</small></figcaption>" if caption else ""
    return (
        "<figure style='display:inline-block;vertical-align:top;margin:0 8px 8px 0;"
        f"max-width:{max(width, _NARROW)}px;overflow-wrap:anywhere'>"
        f"<img src='data:image/{kind};base64,{source}' width='{width}' height='{height}' "
        f"alt='{escape(alt or caption, quote=True)}' style='max-width:none'/>{below}</figure>"
    )
