"""The recipes that have a name: TOML files in this folder, to be used or to be edited."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import fields, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from daskimg import fetch
from daskimg.errors import OptionError
from daskimg.recipe import Recipe
from daskimg.targets import MaskFile
from daskimg.transforms import Heatmaps, MinSize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Size = int | tuple[int, int]

_FOLDER = files("daskimg.recipes")
_NOT_THE_IMAGES = Heatmaps, MinSize  # whose height and width are other things' sizes


def names() -> list[str]:
    """Return the names of the recipes that come with daskimg: files beside this module.

    >>> names()[:3]
    ['center-crop', 'fit', 'masks']
    """
    found = (file.name for file in _FOLDER.iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """Return a named recipe as its file has it, with its comments.

    Raises
    ------
    OptionError
        If there is no such recipe, naming the nearest.
    """
    if name in names():
        return (_FOLDER / f"{name}.toml").read_text("utf-8")
    near = difflib.get_close_matches(name, names(), 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise OptionError(
        f"no recipe is called {name!r}; there are {', '.join(names())}, or a .toml file.{hint}"
    )


def read_recipe(name: str, size: Size | None = None, **decode: Any) -> Recipe:
    """Return a named recipe, or the one in a TOML file.

    Parameters
    ----------
    name
        One of ``names()``, or the place of a file that ends in ``.toml``.
    size
        Height and width of the images, or one length for both, instead of the recipe's own.
    decode
        Fields of ``DecodeOptions`` to change.

    Raises
    ------
    OptionError
        If there is no such recipe, naming the nearest.
    """
    if name.endswith(".toml"):
        recipe = _from_toml(name)
    else:
        recipe = Recipe.from_dict(tomllib.loads(recipe_text(name)))
    return (recipe if size is None else _sized(recipe, size)).changed(**decode)


def resize(size: Size = 224, **decode: Any) -> Recipe:
    """Scale to exactly ``size`` (height, width, or one length for both)."""
    return read_recipe("resize", size, **decode)


def center_crop(size: Size = 224, **decode: Any) -> Recipe:
    """Scale the shorter side to ``size`` * 256 / 224, then cut the centre."""
    return read_recipe("center-crop", size, **decode)


def fit(size: Size = 224, **decode: Any) -> Recipe:
    """Scale to fit inside ``size``, and pad."""
    return read_recipe("fit", size, **decode)


def tiles(size: Size = 128, **decode: Any) -> Recipe:
    """Cut into whole tiles of ``size``, row by row; smaller pictures give no sample."""
    return read_recipe("tiles", size, **decode)


def noise_frames(size: Size = 128, **decode: Any) -> Recipe:
    """Cut into tiles of ``size``; what is smaller is centred on a canvas of noise."""
    return read_recipe("noise-frames", size, **decode)


def adjusted(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return the recipe with settings of the form ``transform.field=value`` applied.

    Values are TOML (``resize.method="bilinear"``, ``decode.background=[0, 0, 0]``); what is
    no TOML is taken as text, so that the quotes may be left out.

    Raises
    ------
    OptionError
        If there is no such transform or field.
    """
    content = recipe.to_dict()
    places = [("decode", content["decode"]), *_places(content)]
    for setting in settings:
        target, equals, text = setting.partition("=")
        place, dot, field = target.partition(".")
        if not (equals and dot and field):
            raise OptionError(f"--set takes transform.field=value, got {setting!r}")
        found = [fields for name, fields in places if name == place]
        if not found:
            there = ", ".join(dict.fromkeys(name for name, _ in places))
            raise OptionError(f"--set {setting}: the recipe has no {place!r}; it has {there}")
        for step in found:
            step[field] = _value(text)
    return Recipe.from_dict(content)


def _places(content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every step and target, also within splits and branches, by its name."""
    if isinstance(content, dict):
        if "name" in content:
            yield content["name"], content
        for value in content.values():
            yield from _places(value)
    elif isinstance(content, list):
        for value in content:
            yield from _places(value)


def masked(recipe: Recipe, column: str) -> Recipe:
    """Return the recipe with a column of masks that go along with the pictures."""
    others = tuple(each for each in recipe.targets if not isinstance(each, MaskFile))
    masks = [each for each in recipe.targets if isinstance(each, MaskFile)] or [MaskFile()]
    return replace(recipe, targets=(*others, *(replace(mask, column=column) for mask in masks)))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _from_toml(location: str) -> Recipe:
    try:
        with fetch.open_input(location) as file:
            return Recipe.from_dict(tomllib.load(file))
    except FileNotFoundError:
        raise OptionError(f"no recipe file at {location}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{location} is not TOML: {error}") from None


def _sized(recipe: Recipe, size: Size) -> Recipe:
    """Return the recipe with images of another size, of all splits."""
    steps = _resized(recipe.transforms, size)
    splits = tuple((name, _resized(own, size)) for name, own in recipe.splits)
    return replace(recipe, transforms=steps, splits=splits)


def _resized(transforms: tuple[Any, ...], size: Size) -> tuple[Any, ...]:
    """Return steps with the last one that gives the image its size at another one."""
    height, width = size if isinstance(size, tuple) else (size, size)
    steps = list(transforms)
    for i in reversed(range(len(steps))):
        names = {field.name for field in fields(steps[i])}
        if {"height", "width"} <= names and not isinstance(steps[i], _NOT_THE_IMAGES):
            steps[i] = replace(steps[i], height=height, width=width)
            return tuple(steps)
    raise OptionError("--size: no transform of this recipe has a height and a width")
