"""One row of a table and its files, read without the rows behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from daskimg.errors import OptionError, PlanError, SampleError
from daskimg.manifest import Split, parse_split
from daskimg.plan import STAGED, Brief, Group, Layout, check_splits, stored_columns
from daskimg.task import planned_rows, read_contents

if TYPE_CHECKING:
    import pandas as pd

    from daskimg.manifest import Facts, Manifest
    from daskimg.recipe import Recipe, Row

_LAYOUT = Layout(1, 1, 1, "none")  # of no importance: nothing is stored


class Found(NamedTuple):
    """A row, its picture's file, the split it is of, and what is done to that split."""

    row: Row
    content: bytes
    split: str | None
    recipe: Recipe


def find_row(manifest: Manifest, recipe: Recipe, number: int, split: Split | str | None) -> Found:
    """Return a row with what it points at; the table is read as far as that row.

    Raises
    ------
    OptionError
        If the table has no such row.
    PlanError
        If the recipe reads columns that the table has not, or is for other splits.
    SampleError
        If a file of the row cannot be read.
    """
    head = manifest.limited(number + 1)
    facts = head.scan()
    if facts.rows <= number:
        raise OptionError(
            f"the table has {facts.rows:,} rows, and no row {number}; "
            + (f"try 0 to {facts.rows - 1}" if facts.rows else f"{manifest.source} is empty")
        )
    rule = _rule(head, split)
    if rule is not None:
        check_splits(recipe, rule.names or ("",))  # of a column the names are not looked for
    name = None if rule is None else _split_name(head, rule, number)
    brief = _brief(manifest, recipe, facts)
    line = _last_line(head, facts)
    (planned,) = planned_rows(line, brief)
    (content,) = read_contents(line, brief)
    row = planned.row
    if isinstance(content, SampleError):
        where = manifest.resolve(row.path) or "no path"
        raise SampleError(content.reason, f"{content.message}; row {number} ({where})")
    own = recipe if name is None else recipe.of(name)
    return Found(replace(row, files=content.files), content.picture, name, own)


def _last_line(head: Manifest, facts: Facts) -> pd.DataFrame:
    """Return the last row as tasks are given it; where its samples lie is left open."""
    for piece in head.pieces(facts):
        line = piece.iloc[[-1]]
    return line.assign(**dict.fromkeys(STAGED, 0))


def _brief(manifest: Manifest, recipe: Recipe, facts: Facts) -> Brief:
    """Return what a task is told, as far as reading a row needs it."""
    return Brief(
        url="",
        run="",
        root=manifest.root,
        bytes_column=manifest.bytes_column,
        extensions=manifest.extensions,
        rows=facts.rows,
        groups=(Group("", recipe, (), (), _LAYOUT, 0),),
        measured=False,
        columns=stored_columns(recipe, facts),
        labels=(),
        compiled=False,
        generation=manifest.generation,
        key=facts.key,
    )


def _split_name(head: Manifest, rule: Split, number: int) -> str:
    """Return the split of the last row."""
    text = None
    if rule.column is not None:
        for cells in head.columns_pieces([rule.column]):
            text = cells.columns[rule.column].slice(cells.rows - 1)
        if rule.kind == "column" and not rule.names and text is not None:
            rule = rule.with_names(filter(None, text.to_pylist()))
    (place,) = rule.assign(number, 1, text).tolist()
    return str(rule.names[place])


def _rule(head: Manifest, split: Split | str | None) -> Split | None:
    if split == "none":
        return None
    if isinstance(split, str):
        return parse_split(split)
    if split is None and head.split_column is not None:
        return Split(kind="column", column=head.split_column)
    return split


def refusal(recipe: Recipe) -> PlanError | None:
    """Return why no store can be built by a recipe, though a row can be looked at."""
    try:
        recipe.outputs()
    except PlanError as error:
        return error
    return None
