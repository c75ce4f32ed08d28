"""A recipe in words, and as a page for a notebook."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from daskimg import markup
from daskimg.errors import DaskimgError
from daskimg.recipe._steps import short_name
from daskimg.transforms import resolved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from daskimg.recipe._recipe import Recipe
    from daskimg.transforms import Spec, Transform


def settings_of(recipe: Recipe) -> list[str]:
    """Return each stage's name and settings, as ``tiles(height=128, width=128)``."""
    decode = f"decode{_arguments(recipe.decode)}"
    if recipe.decoder is not None:
        decode += f" by {short_name(recipe.decoder)}"
    return [decode, *map(_shown, recipe.transforms)]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if is_dataclass(value):
        return short_name(value) + _arguments(value)
    if callable(value):  # a transform that is no dataclass: a run will say so
        return short_name(value)
    return str(value)


def _arguments(step: Any) -> str:
    """Return the settings of a dataclass that are not its defaults."""
    given = [
        f"{field.name}={_shown(getattr(step, field.name))}"
        for field in fields(step)
        if field.default is MISSING or getattr(step, field.name) != field.default
    ]
    return f"({', '.join(given)})" if given else ""


def line(recipe: Recipe) -> str:
    """Return a recipe in one line."""
    text = " > ".join(settings_of(recipe))
    splits = "".join(
        f"; {name}: {' > '.join(map(_shown, steps)) or 'none'}" for name, steps in recipe.splits
    )
    return f"Recipe(seed {recipe.seed}): {text}{splits}"


def page(recipe: Recipe) -> str:
    """Return a table of the steps and of what each makes, and the recipe as TOML."""
    parts = [_table("", recipe, recipe.transforms)]
    parts += [_table(name, recipe, steps) for name, steps in recipe.splits]
    words = markup.preformatted(recipe.to_toml(), "as TOML, for --recipe FILE.toml")
    return markup.block(f"Recipe, seed {recipe.seed}", *parts, words)


def _table(split: str, recipe: Recipe, steps: Sequence[Transform]) -> str:
    names = [settings_of(recipe)[0], *map(_shown, steps)]
    made = list(_made(recipe, steps))
    lines = [
        (str(number), name, made[number] if number < len(made) else "")
        for number, name in enumerate(names)
    ]
    caption = f"of the split {split}" if split else ""
    return markup.table(("step", "what is done", "what it makes of a picture"), lines, caption)


def _made(recipe: Recipe, steps: Sequence[Transform]) -> Iterator[str]:
    """Yield what there is after each step, up to one that does not fit."""
    specs = [recipe.start()]
    yield _spec_words(specs)
    try:
        for step in steps:
            specs = [made for spec in specs for made in resolved(step, spec)]
            several = getattr(step, "by_size", False)
            yield _spec_words(specs) + (", as many as fit or pass" if several else "")
    except DaskimgError as error:
        yield str(error)


def _spec_words(specs: Sequence[Spec]) -> str:
    if not specs:
        return "no sample"
    first = specs[0]
    height, width = ("any" if each is None else str(each) for each in (first.height, first.width))
    targets = "".join(f", {target.name}" for target in first.targets)
    count = f"{len(specs)} x " if len(specs) > 1 else ""
    return f"{count}{height} x {width} x {first.channels} {first.dtype}{targets}"
