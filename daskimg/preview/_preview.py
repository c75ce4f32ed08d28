"""A recipe looked at stage by stage, on one row: in words, as a page, as a sheet of pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daskimg.decode import Strip
from daskimg.errors import OptionError, PlanError, TransformError
from daskimg.plan import check_inputs
from daskimg.preview._found import find_row, refusal
from daskimg.preview._panels import panels_of
from daskimg.preview._views import PreviewStage, stage_of
from daskimg.recipe import settings_of
from daskimg.sheets import Pictured, Sheet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.manifest import Manifest, Split
    from daskimg.preview._found import Found
    from daskimg.recipe import Recipe


@dataclass(frozen=True, eq=False, repr=False)
class Preview(Pictured):
    """What each step of a recipe made of one row; shown as pictures in a notebook.

    Attributes
    ----------
    title
        Which row of which table.
    stages
        The decoded picture, then what each step made of it, in the recipe's order.
    refused
        Why a run would refuse the recipe, if it would.
    """

    title: str
    stages: tuple[PreviewStage, ...]
    refused: str | None = field(default=None)

    def lines(self) -> Iterator[str]:
        """Yield the preview in words: a line for each stage, and what it made below."""
        yield self.title
        for number, stage in enumerate(self.stages):
            yield f"{number}  {stage.settings}"
            yield from (f"     {line}" for line in stage.lines())
        if self.refused:
            yield f"a run would refuse this recipe: {self.refused}"

    def on_sheet(self) -> Sheet:
        """Return a strip for each stage, of its first 8 samples.

        Small pictures are enlarged by a whole number, so that pixels can be seen. Masks lie over
        them half transparent, 0 without a colour. Visible joints are discs and hidden ones
        rings, each in a colour of its own. Heatmaps are beside them: the greatest of all joints,
        over the picture in grey.
        """
        strips = [self._strip(number) for number in range(len(self.stages))]
        if self.refused:
            strips.append(Strip("a run would refuse this recipe", (self.refused,), ()))
        return Sheet(self.title, tuple(strips))

    def _strip(self, number: int) -> Strip:
        stage = self.stages[number]
        more = f"+ {stage.more:,} more" if stage.more else ""
        notes, panels = tuple(stage.lines()), tuple(panels_of(stage))
        return Strip(f"{number}  {stage.settings}", notes, panels, more)


def preview_row(
    manifest: Manifest, recipe: Recipe, *, row: int = 0, split: Split | str | None = None
) -> Preview:
    """Fetch and decode one row, and keep what each step of the recipe makes of it.

    The table is read as far as that row, and of its files only that row's. Cells that the
    recipe reads are of the types that the rows up to it have.

    Parameters
    ----------
    manifest
        The table; see ``read_manifest``.
    recipe
        What is done to each picture.
    row
        Which row, from 0.
    split
        How rows are split, as ``plan_store`` takes it: the row's split may have other steps.

    Raises
    ------
    OptionError
        If there is no such row.
    PlanError, ManifestError
        If recipe and table do not fit together.
    SampleError
        If the row's own files or cells are at fault: the stage is named.
    TransformError
        If a step raised: the step, the row and the place in the recipe are named.
    """
    check_row(row)
    check_inputs(manifest, recipe)
    found = find_row(manifest, recipe, row, split)
    return Preview(_title(manifest, found), staged(found), _text(refusal(found.recipe)))


def staged(found: Found) -> tuple[PreviewStage, ...]:
    """Return what each step makes of a row; see ``preview_row`` for what is raised."""
    try:
        stages = found.recipe.stages(found.content, found.row)
    except TransformError as error:
        refused = refusal(found.recipe)
        if refused is not None:  # its reason is the better one
            raise refused from error
        raise
    return tuple(map(stage_of, stages, settings_of(found.recipe)))


def check_row(row: object) -> None:
    """Refuse what is no number of a row."""
    if not isinstance(row, int) or isinstance(row, bool) or row < 0:
        raise OptionError(f"row must be a whole number of at least 0, got {row!r}; try 0")


def _title(manifest: Manifest, found: Found) -> str:
    split = f", split {found.split}" if found.split else ""
    path = f": {found.row.path}" if found.row.path else ""
    return f"row {found.row.number:,} of {manifest.source}{split}{path}"


def _text(refused: PlanError | None) -> str | None:
    return None if refused is None else str(refused)
