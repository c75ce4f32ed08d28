"""The samples of a stage as panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskimg.decode import Panel
from daskimg.errors import SampleError
from daskimg.preview._views import SHOWN, visible_of
from daskimg.sheets import Drawing, drawn, fitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.preview._views import PreviewSample, PreviewStage

_CELLS = ((1, 384), (4, 256), (SHOWN, 160))
"""Up to so many samples beside each other are so many pixels high or wide each."""

_EMPTY = 236  # grey of what cannot be shown


def panels_of(stage: PreviewStage) -> Iterator[Panel]:
    """Yield the panels of a stage's first samples, in order."""
    shown = stage.samples[:SHOWN]
    cell = next(cell for count, cell in _CELLS if len(shown) <= count)
    for number, sample in enumerate(shown):
        name = f"part {number}" if len(stage.samples) > 1 else ""
        yield from sample_panels(sample, cell, name)


def sample_panels(sample: PreviewSample, cell: int, name: str) -> Iterator[Panel]:
    """Yield the panels of a sample: the picture, then its heatmaps."""
    try:
        drawing = drawing_of(sample)
    except SampleError:
        size = fitted(*sample.shape[:2], cell)
        grey = np.full((size.height, size.width, 3), _EMPTY, np.uint8)
        yield Panel(grey, "too large to show")
        return
    yield from drawn(drawing, cell, name)


def drawing_of(sample: PreviewSample) -> Drawing:
    """Return what is drawn of a sample.

    Raises
    ------
    SampleError
        If the picture has more pixels than may be decoded at once.
    """
    targets = sample.targets
    return Drawing(
        sample.image,
        tuple(each.array for each in targets.values() if each.kind == "mask"),
        tuple(
            (each.array, visible_of(sample, each.array))
            for each in targets.values()
            if each.kind == "points"
        ),
        tuple((name, each.array) for name, each in targets.items() if each.kind == "heatmap"),
    )
