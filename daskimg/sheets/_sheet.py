"""A sheet: pictures in strips with words beside them, in a notebook or as a PNG file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daskimg import markup
from daskimg.decode import Strip, contact_sheet, encode_png
from daskimg.errors import OptionError
from daskimg.fetch import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from daskimg.decode import Panel

_WIDTHS = (640, 1560)  # of a sheet, in pixels: for words; for eight panels beside each other
_MARGINS, _BETWEEN, _MORE = 32, 12, 140


@dataclass(frozen=True, eq=False, repr=False)
class Sheet:
    """Pictures for people; drawn by a notebook, and saved as PNG.

    Attributes
    ----------
    title
        What they are of.
    strips
        Panels beside each other, with words above them.
    """

    title: str
    strips: tuple[Strip, ...]

    def pixels(self) -> NDArray[np.uint8]:
        """Return the sheet as one picture: (height, width, 3) uint8, read-only."""
        widest = max(map(_width, self.strips), default=0)
        return contact_sheet(self.title, self.strips, min(max(_WIDTHS[0], widest), _WIDTHS[1]))

    def save(self, path: str | Path) -> None:
        """Write the sheet as a PNG file, in place of one that is there.

        Raises
        ------
        OptionError
            If there can be no such file.
        """
        place = png_path(path)
        place.write_bytes(encode_png(self.pixels()))

    def __repr__(self) -> str:
        panels = sum(len(strip.panels) for strip in self.strips)
        return f"{self.title}: {panels} pictures; save(path) writes them as a PNG file"

    def _repr_html_(self) -> str:
        return markup.block(self.title, *map(_html, self.strips))


class Pictured:
    """What is told in lines and drawn on a sheet: ``lines`` and ``on_sheet`` say how."""

    def lines(self) -> Iterator[str]:
        """Yield it in words."""
        raise NotImplementedError

    def on_sheet(self) -> Sheet:
        """Return it as pictures."""
        raise NotImplementedError

    def text(self) -> str:
        """Return it in words."""
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.on_sheet()._repr_html_()

    def sheet(self) -> NDArray[np.uint8]:
        """Return one picture of all: (height, width, 3) uint8, read-only."""
        return self.on_sheet().pixels()

    def save(self, path: str | Path) -> None:
        """Write that picture as a PNG file, in place of one that is there.

        Raises
        ------
        OptionError
            If there can be no such file.
        """
        self.on_sheet().save(path)


def _width(strip: Strip) -> int:
    """Return how wide a sheet must be for a strip's panels to be beside each other."""
    more = _MORE if strip.more else 0
    panels = [max(strip.column, int(each.image.shape[1])) + _BETWEEN for each in strip.panels]
    return _MARGINS + more + sum(panels)


def _html(strip: Strip) -> str:
    words = [markup.paragraph(strip.heading)] if strip.heading else []
    words += map(markup.paragraph, strip.notes)
    panels = "".join(map(_figure, strip.panels))
    more = markup.paragraph(strip.more) if strip.more else ""
    return f"{''.join(words)}<div>{panels}</div>{more}"


def _figure(panel: Panel) -> str:
    height, width = panel.image.shape[:2]
    return markup.figure(encode_png(panel.image), (height, width), panel.caption)


def png_path(path: str | Path) -> Path:
    """Return where a sheet is to be written, or refuse a place where it cannot be.

    Raises
    ------
    OptionError
        If it is a URL, no PNG, or in no folder.
    """
    if is_url(str(path)):
        raise OptionError(f"a sheet is written to a local file, got {path}; try preview.png")
    place = Path(path)
    if place.suffix.lower() != ".png":
        raise OptionError(f"a sheet is a PNG, got {path}; try {place.with_suffix('.png')}")
    if place.is_dir() or not place.parent.is_dir():
        raise OptionError(f"there is no folder {place.parent} for {path}; make it first")
    return place
