"""Pictures for people: scaled, marked, put on one sheet with words beside them, saved as PNG."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import combining, normalize

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_PAPER, _INK, _FAINT, _EDGE = (255, 255, 255), (20, 20, 20), (105, 105, 105), (190, 190, 190)
_TITLE, _HEADING, _NOTE, _CAPTION = 20, 17, 14, 12  # heights of letters in pixels
_MARGIN, _GAP = 16, 10
_ROOMY, _NUMBER = 200, 9  # pixels of a picture from which marks are numbered, and of a number
_WORD = 32  # letters after which a path may be broken
_NEAR = 1.5  # pixels from a picture's edge at which a line is drawn along it
_DIM = 0.3  # of the light that is left of what is dimmed
_DRAWN = frozenset(map(chr, (*range(32, 127), 0xA9, 0xAB, 0xB0, 0xB1, 0xB4, 0xB7, 0xBB)))
_WRITTEN = {
    "ß": "ss", "Æ": "AE", "æ": "ae", "Ø": "O", "ø": "o", "Œ": "OE", "œ": "oe", "Ð": "D",
    "ð": "d", "Þ": "Th", "þ": "th", "Ł": "L", "ł": "l", "Đ": "D", "đ": "d", "\u0131": "i",
    "µ": "u", "€": "EUR", "\xd7": "x", "\u2010": "-", "\u2013": "-", "\u2014": "-",
    "\u2212": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
}  # fmt: skip
_FINE = 4  # marks are drawn so many times larger: Pillow's circles have no soft edge


class Panel(NamedTuple):
    """A small picture, (height, width, 3) uint8, and the words below it."""

    image: NDArray[np.uint8]
    caption: str


class Strip(NamedTuple):
    """Panels beside each other: words above them, and behind the last one.

    ``column`` is how wide each is at least, so that those of several strips are in columns.
    """

    heading: str
    notes: tuple[str, ...]
    panels: tuple[Panel, ...]
    more: str = ""
    column: int = 0


def scaled_down(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a (height, width, 3) picture at a smaller size."""
    small = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(small)


def draw_points(
    image: NDArray[np.uint8],
    points: NDArray[np.floating],
    filled: NDArray[np.bool_],
    colours: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return a picture with marks on it, all of one size.

    Parameters
    ----------
    image : (height, width, 3)
        What to draw on.
    points : (point, xy)
        In pixels of ``image``; what is NaN, or outside, is left out.
    filled : (point,)
        A disc; otherwise a ring, through which the picture is seen.
    colours : (point, 3)
        Of each mark, inside a black line. Its number is beside it, where there is room.
    """
    height, width = image.shape[:2]
    radius = max(3.0, min(height, width) / 48)
    overlay = Image.new("RGBA", (_FINE * width, _FINE * height))
    pen = ImageDraw.Draw(overlay)
    inside = [(0 <= x < width and 0 <= y < height) for x, y in points.tolist()]
    seen = np.flatnonzero(inside).tolist()
    if min(height, width) >= _ROOMY:
        for i in seen:
            _number(pen, points[i, 0] + radius + 2, points[i, 1], i)
    for i in seen:
        centre = points[i, 0], points[i, 1]
        _mark(pen, centre, radius, tuple(colours[i].tolist()), full=bool(filled[i]))
    whole = Image.alpha_composite(Image.fromarray(image).convert("RGBA"), overlay.reduce(_FINE))
    return np.asarray(whole.convert("RGB"))


def draw_outlines(
    image: NDArray[np.uint8],
    quads: Sequence[NDArray[np.floating]],
    colour: tuple[int, ...],
    *,
    dim: bool = False,
) -> NDArray[np.uint8]:
    """Return a picture with closed lines of a colour on it, inside a dark edge.

    Parameters
    ----------
    image : (height, width, 3)
        What to draw on.
    quads
        (corner, xy) each, in pixels of ``image``; what lies outside is cut off, and a line
        along the picture's own edge is drawn just inside.
    colour
        Red, green and blue.
    dim
        Darken what lies in none of them.
    """
    height, width = image.shape[:2]
    overlay = Image.new("RGBA", (_FINE * width, _FINE * height))
    pen = ImageDraw.Draw(overlay)
    inner = np.array([width, height]) - 1.0
    for ink, line in (((0, 0, 0), 3.0), (colour, 1.5)):
        for quad in quads:
            near = np.abs(quad - np.clip(quad, 1.0, inner)) <= _NEAR
            path = _path(np.where(near, np.clip(quad, 1.0, inner), quad) * _FINE)
            pen.line([*path, *path[:2]], ink, round(_FINE * line), joint="curve")
    below = _dimmed(image, quads) if dim else Image.fromarray(image)
    whole = Image.alpha_composite(below.convert("RGBA"), overlay.reduce(_FINE))
    return np.asarray(whole.convert("RGB"))


def _dimmed(image: NDArray[np.uint8], quads: Sequence[NDArray[np.floating]]) -> Image.Image:
    """Return a picture that is dark where no quadrilateral is."""
    height, width = image.shape[:2]
    inside = Image.new("L", (_FINE * width, _FINE * height))
    for quad in quads:
        ImageDraw.Draw(inside).polygon(_path(quad * _FINE), 255)
    dark = Image.fromarray((image * _DIM).astype(np.uint8))
    return Image.composite(Image.fromarray(image), dark, inside.reduce(_FINE))


def _path(corners: NDArray[np.floating]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in corners.tolist()]


def _number(pen: ImageDraw.ImageDraw, x: float, y: float, number: int) -> None:
    place = _FINE * x, _FINE * (y - _NUMBER / 2)
    font = _font(_FINE * _NUMBER)
    pen.text(place, str(number), _PAPER, font, stroke_width=_FINE, stroke_fill=_INK)


def _mark(
    pen: ImageDraw.ImageDraw,
    centre: tuple[float, float],
    radius: float,
    colour: tuple[int, ...],
    *,
    full: bool,
) -> None:
    def circle(radius: float, line: float, ink: tuple[int, ...]) -> None:
        x, y = centre
        box = [_FINE * each for each in (x - radius, y - radius, x + radius, y + radius)]
        pen.ellipse(box, ink if full else None, ink, round(_FINE * line))

    circle(radius + 1, 3.5, (0, 0, 0))
    circle(radius, 1.5, colour)


def contact_sheet(title: str, strips: Sequence[Strip], width: int) -> NDArray[np.uint8]:
    """Return one picture of all strips, (height, width, 3) uint8, read-only.

    Panels that do not fit beside each other go on below. Words that do not fit are broken.
    """
    inner = width - 2 * _MARGIN
    blocks = [_words(title, _TITLE, _INK, inner), *(_strip(strip, inner) for strip in strips)]
    gap = 2 * _MARGIN
    height = 2 * _MARGIN + sum(block.height for block in blocks) + gap * (len(blocks) - 1)
    return np.asarray(_stacked(blocks, width, height, gap, _MARGIN))


def _stacked(
    blocks: Iterable[Image.Image], width: int, height: int, gap: int, margin: int = 0
) -> Image.Image:
    sheet = Image.new("RGB", (width, height), _PAPER)
    top = margin
    for block in blocks:
        sheet.paste(block, (margin, top))
        top += block.height + gap
    return sheet


def _strip(strip: Strip, width: int) -> Image.Image:
    blocks = [_words(strip.heading, _HEADING, _INK, width)]
    blocks += [_words(note, _NOTE, _FAINT, width) for note in strip.notes]
    blocks += [_beside(row) for row in _rows(strip, width)]
    gap = _GAP // 2
    height = sum(block.height for block in blocks) + gap * (len(blocks) - 1)
    return _stacked(blocks, width, height, gap)


def _rows(strip: Strip, width: int) -> Iterator[list[Image.Image]]:
    """Yield the panels, drawn, as many in a row as fit; behind the last how many more."""
    drawn = [_panel(panel) for panel in strip.panels]
    if strip.more:
        drawn.append(_words(strip.more, _HEADING, _FAINT, width))
    row: list[Image.Image] = []
    for panel in drawn:
        block = panel
        if strip.column > block.width:
            block = _stacked([block], strip.column, block.height, 0)
        if row and sum(each.width + _GAP for each in row) + block.width > width:
            yield row
            row = []
        row.append(block)
    if row:
        yield row


def _beside(row: list[Image.Image]) -> Image.Image:
    width = sum(block.width for block in row) + _GAP * (len(row) - 1)
    sheet = Image.new("RGB", (width, max(block.height for block in row)), _PAPER)
    left = 0
    for block in row:
        sheet.paste(block, (left, 0))
        left += block.width + _GAP
    return sheet


def _panel(panel: Panel) -> Image.Image:
    image = Image.fromarray(panel.image)
    # A line around it: white pictures are to be seen on white paper.
    framed = Image.new("RGB", (image.width + 2, image.height + 2), _EDGE)
    framed.paste(image, (1, 1))
    if not panel.caption:
        return framed
    caption = _words(panel.caption, _CAPTION, _FAINT, max(framed.width, 8 * _CAPTION))
    blocks = [framed, caption]
    width = max(block.width for block in blocks)
    return _stacked(blocks, width, framed.height + caption.height + 2, 2)


def _words(text: str, size: int, colour: tuple[int, int, int], width: int) -> Image.Image:
    """Return text as a picture no wider than ``width``, in as many lines as it takes."""
    font = _font(size)
    lines = _broken(text, font, width)
    step = round(1.3 * size)
    longest = max((font.getlength(line) for line in lines), default=0)
    block = Image.new("RGB", (min(width, int(longest) + 2), step * len(lines) + 1), _PAPER)
    pen = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        pen.text((0, number * step), line, colour, font)
    return block


def _broken(text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in re.findall(rf"\S{{1,{_WORD}}} *", _legible(text)):
        if lines[-1] and font.getlength(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return lines


def _font(size: int) -> Font:
    return ImageFont.load_default(size if features.check("freetype2") else None)


def _legible(text: str) -> str:
    """Return text in letters that Pillow's own font has.

    That font, Aileron cut down, has those of ASCII and a few signs: accents are left out, some
    letters are written out, and what is left is said by its number.
    """
    return "".join(
        letter if letter in _DRAWN else _plain(letter) for letter in normalize("NFC", text)
    )


def _plain(letter: str) -> str:
    if letter in _WRITTEN:
        return _WRITTEN[letter]
    parts = [part for part in normalize("NFKD", letter) if not combining(part)]
    whole = parts and all(part in _DRAWN for part in parts)
    return "".join(parts) if whole else ascii(letter)[1:-1]
