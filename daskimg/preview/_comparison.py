"""Several rows and several recipes beside each other, and what each recipe crops away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskimg import markup
from daskimg.decode import Panel, Strip, draw_outlines, encode_png, scaled_down
from daskimg.errors import OptionError, SampleError
from daskimg.options import given
from daskimg.plan import check_inputs
from daskimg.preview._found import find_row
from daskimg.preview._panels import sample_panels
from daskimg.preview._preview import check_row, staged
from daskimg.recipe import Recipe
from daskimg.sheets import Pictured, Sheet, hues

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from daskimg.manifest import Manifest, Split
    from daskimg.preview._views import PreviewSample, PreviewStage

    Colours = NDArray[np.uint8]

_CELL = 176  # pixels of a column of pictures
_SHARED, _ACROSS = 64, 8  # samples that share a cell, and that stand beside each other in it
_FLAT = 1e-12  # a determinant that is as good as none
_PAPER, _EMPTY, _FRAME = 255, 236, 2
_MARGIN = 0.01  # of a pixel: what lies on the edge is not inside


class Outcome(NamedTuple):
    """What a recipe made of a row: stages, or why there are none.

    Attributes
    ----------
    stages
        The decoded picture, then what each step made of it; empty if the row failed.
    failure
        ``reason: message`` if the row's own files or cells are at fault.
    """

    stages: tuple[PreviewStage, ...]
    failure: str = ""


class _Column(NamedTuple):
    """What a column of pictures shows: of which recipe, which stage; ``None``: the source."""

    recipe: str
    stage: int | None
    heading: str


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Pictured):
    """What recipes make of the same rows: a line a row, a column a stage, or a recipe.

    On the source, outlines show what a recipe takes of it, and the rest is dark; on what a
    step made, where the source's edge lies, if noise or padding is around it.

    Attributes
    ----------
    title
        Which table.
    rows
        By number, the row's path, and the outcome of each recipe by its name.
    """

    title: str
    rows: Mapping[int, tuple[str, Mapping[str, Outcome]]]

    def lines(self) -> Iterator[str]:
        """Yield the comparison in words: a line for each row and recipe."""
        yield self.title
        for number, (path, outcomes) in self.rows.items():
            yield _named(number, path)
            for name, outcome in outcomes.items():
                yield f"     {name}: {_told(outcome)}"

    def on_sheet(self) -> Sheet:
        """Return a strip a row, its panels in columns."""
        strips = []
        for number, (path, outcomes) in self.rows.items():
            panels = (self._panel(outcomes, column) for column in self._columns())
            notes = tuple(self._failures(outcomes))
            shown = tuple(panel for panel in panels if panel is not None)
            strips.append(Strip(_named(number, path), notes, shown, column=_CELL + _FRAME))
        return Sheet(self.title, tuple(strips))

    def _failures(self, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
        """Yield why a row has no pictures: once, if that is so whatever the recipe."""
        told = {name: each.failure for name, each in outcomes.items() if each.failure}
        if len(told) == len(outcomes) and len(set(told.values())) == 1:
            yield next(iter(told.values()))
        else:
            yield from (f"{name}: {failure}" for name, failure in told.items())

    def _columns(self) -> list[_Column]:
        """Return the source, and of one recipe each stage, of several the last one of each."""
        named: dict[str, tuple[PreviewStage, ...]] = {}
        for _, outcomes in self.rows.values():
            for name, outcome in outcomes.items():
                if len(outcome.stages) > len(named.get(name, ())):
                    named[name] = outcome.stages
        columns = []
        for name, stages in named.items():
            mine = f"{name}: " if len(named) > 1 else ""
            steps = range(1, len(stages)) if len(named) == 1 else (-1,)
            columns.append(_Column(name, None, f"{mine}source"))
            columns += [_Column(name, step, mine + stages[step].settings) for step in steps]
        return columns

    def _panel(self, outcomes: Mapping[str, Outcome], column: _Column) -> Panel | None:
        outcome = outcomes[column.recipe]
        colour = hues(np.array([list(outcomes).index(column.recipe)]))[0]
        mine = f"{column.recipe}: " if len(outcomes) > 1 else ""
        if not outcome.stages or (column.stage or 0) >= len(outcome.stages):
            return None
        if column.stage is None:
            return _source(outcome, colour)
        stage = outcome.stages[column.stage]
        name = mine or f"{stage.name}: "
        if not stage.samples:
            return Panel(np.full((_CELL // 2, _CELL, 3), _EMPTY, np.uint8), f"{name}no sample")
        source = outcome.stages[0]
        across = _across(stage.samples)
        shown = stage.samples[: _SHARED // across * across]
        pictures = [_framed(each, source, colour) for each in shown]
        size = " x ".join(map(str, stage.samples[0].shape[:2]))
        count = len(stage.samples)
        return Panel(
            _mosaic(pictures, across),
            f"{name}{size}" if count == 1 else f"{name}{count:,} of {size}",
        )

    def _repr_html_(self) -> str:
        columns = self._columns()
        heads = ["row", *(column.heading for column in columns)]
        lines = []
        for number, (path, outcomes) in self.rows.items():
            panels = [self._panel(outcomes, column) for column in columns]
            failed = "".join(markup.paragraph(each) for each in self._failures(outcomes))
            first = markup.paragraph(_named(number, path)) + failed
            lines.append([first, *("" if each is None else _figure(each) for each in panels)])
        return markup.block(self.title, markup.grid(heads, lines))


def _figure(panel: Panel) -> str:
    size = panel.image.shape[0], panel.image.shape[1]
    return markup.figure(encode_png(panel.image), size, panel.caption)


def _told(outcome: Outcome) -> str:
    if outcome.failure:
        return outcome.failure
    parts: list[str] = []
    for stage in outcome.stages:
        if not stage.samples:
            return " > ".join([*parts, f"{stage.name}: no sample"])
        height, width, _ = stage.samples[0].shape
        count = f"{len(stage.samples):,} of " if len(stage.samples) > 1 else ""
        parts.append(f"{stage.name}: {count}{height} x {width}")
    return " > ".join(parts)


def _source(outcome: Outcome, colour: NDArray[np.uint8]) -> Panel:
    """Return the decoded picture, dark where nothing of it is taken."""
    (sample,) = outcome.stages[0].samples
    panel = next(sample_panels(sample, _CELL, ""))
    last = outcome.stages[-1].samples
    quads = [quad for each in last if (quad := _taken(each)) is not None]
    image = _outlined(panel.image, quads, sample.shape, colour, dim=True)
    height, width, _ = sample.shape
    return Panel(image, f"source, {height} x {width}")


def _taken(sample: PreviewSample) -> NDArray[np.float64] | None:
    """Return the corners of a sample in its source, (4, xy); ``None`` if there are none."""
    affine = np.vstack([sample.affine, (0.0, 0.0, 1.0)])
    if abs(np.linalg.det(affine)) < _FLAT:
        return None
    return _moved(np.linalg.inv(affine)[:2], _corners(sample.shape))


def _corners(shape: Sequence[int]) -> NDArray[np.float64]:
    height, width = shape[:2]
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)


def _moved(affine: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points @ affine[:, :2].T + affine[:, 2])


def _framed(sample: PreviewSample, source: PreviewStage, colour: NDArray[np.uint8]) -> Colours:
    """Return a sample's picture, with the source's edge on it where it lies inside."""
    *_, panel = sample_panels(sample, _CELL, "")  # the last is of its heatmaps, if it has some
    edge = _moved(sample.affine, _corners(source.samples[0].shape))
    height, width, _ = sample.shape
    inside = (edge > _MARGIN) & (edge < np.array([width, height]) - _MARGIN)
    if not inside.any():
        return panel.image
    return _outlined(panel.image, [edge], sample.shape, colour)


def _outlined(
    image: Colours,
    quads: Sequence[NDArray[np.float64]],
    shape: Sequence[int],
    colour: NDArray[np.uint8],
    *,
    dim: bool = False,
) -> Colours:
    """Return a picture with outlines that are given in pixels of its original size."""
    scale = image.shape[1] / shape[1], image.shape[0] / shape[0]
    return draw_outlines(image, [q * scale for q in quads], tuple(colour.tolist()), dim=dim)


def _across(samples: Sequence[PreviewSample]) -> int:
    """Return how many samples stand beside each other: as tiles do in their picture."""
    tops = [float(each.affine[1, 2]) for each in samples]
    first = next((i for i, top in enumerate(tops) if top != tops[0]), len(tops))
    grid = 1 < first <= _ACROSS and len(samples) % first == 0
    return first if grid else math.ceil(math.sqrt(min(len(samples), _SHARED)))


def _mosaic(pictures: Sequence[Colours], across: int) -> Colours:
    """Return pictures in the room of one, so many beside each other."""
    if len(pictures) == 1:
        return pictures[0]
    room = (_CELL - 2 * (across - 1)) // across
    small = [_within(picture, room) for picture in pictures]
    height, width = (max(each.shape[axis] for each in small) for axis in (0, 1))
    down = math.ceil(len(small) / across)
    sheet = np.full((down * (height + 2) - 2, across * (width + 2) - 2, 3), _PAPER, np.uint8)
    for number, picture in enumerate(small):
        top, left = (height + 2) * (number // across), (width + 2) * (number % across)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def _within(picture: Colours, room: int) -> Colours:
    height, width, _ = picture.shape
    longest = max(height, width)
    if longest <= room:
        return picture
    small = (max(1, round(side * room / longest)) for side in (height, width))
    return scaled_down(np.ascontiguousarray(picture), *small)


def preview_rows(
    manifest: Manifest,
    recipes: Recipe | Mapping[str, Recipe],
    *,
    rows: int | Sequence[int] = 6,
    split: Split | str | None = None,
) -> Comparison:
    """Fetch and decode some rows, and keep what recipes make of them.

    Parameters
    ----------
    manifest
        The table; see ``read_manifest``. It is read as far as the last of these rows.
    recipes
        One, or several by their names.
    rows
        So many from the first one on (fewer, if the table has fewer), or these.
    split
        How rows are split, as ``plan_store`` takes it.

    Raises
    ------
    OptionError
        If there is no such row.
    PlanError, ManifestError
        If a recipe and the table do not fit together.
    TransformError
        If a step raised. What is the fault of a row's own files is kept as its outcome.
    """
    if not isinstance(recipes, Recipe | Mapping):
        raise OptionError(
            f"recipes must be a recipe, or several by name, got {given(recipes)}; "
            "try {'small': daskimg.recipes.resize(64)}"
        )
    named = {"recipe": recipes} if isinstance(recipes, Recipe) else dict(recipes)
    for recipe in named.values():
        check_inputs(manifest, recipe)
    found: dict[int, tuple[str, dict[str, Outcome]]] = {}
    for number in _numbers(manifest, rows):
        outcomes, path = {}, ""
        for name, recipe in named.items():
            outcomes[name], path = _outcome(manifest, recipe, number, split)
        found[number] = path, outcomes
    return Comparison(f"{_counted(found)} of {manifest.source}", found)


def _named(number: int, path: str) -> str:
    return f"row {number:,}: {path}" if path else f"row {number:,}"


def _counted(rows: Mapping[int, Any]) -> str:
    return f"{len(rows):,} row{'s' * (len(rows) != 1)}"


def _numbers(manifest: Manifest, rows: int | Sequence[int]) -> list[int]:
    if not isinstance(rows, int):
        for row in rows:
            check_row(row)
        return list(dict.fromkeys(rows))
    if isinstance(rows, bool) or rows < 1:
        raise OptionError(f"rows must be a count of at least 1, or numbers, got {rows!r}; try 6")
    count = manifest.limited(rows).scan().rows
    if not count:
        raise OptionError(f"{manifest.source} is empty: there is nothing to look at")
    return list(range(min(rows, count)))


def _outcome(
    manifest: Manifest, recipe: Recipe, number: int, split: Split | str | None
) -> tuple[Outcome, str]:
    """Return what became of a row, and its path."""
    try:
        found = find_row(manifest, recipe, number, split)
    except SampleError as error:
        return Outcome((), f"{error.reason}: {error.message}"), ""
    try:
        return Outcome(staged(found)), found.row.path
    except SampleError as error:
        return Outcome((), f"{error.reason}: {error.message}"), found.row.path
