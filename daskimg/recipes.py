"""The recipes that have a name: functions that return a ``Recipe``."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from daskimg import fetch
from daskimg.errors import OptionError
from daskimg.options import DecodeOptions
from daskimg.recipe import Recipe
from daskimg.targets import MaskFile
from daskimg.transforms import CenterCrop, Fit, NoiseFrames, Resize, Tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Size = int | tuple[int, int]


def resize(size: Size = 224, **decode: Any) -> Recipe:
    """Scale to exactly ``size`` (height, width, or one length for both)."""
    return Recipe((Resize(*_pair(size)),), DecodeOptions(**decode))


def center_crop(size: Size = 224, **decode: Any) -> Recipe:
    """Scale the shorter side to ``size`` * 256 / 224, then cut the centre."""
    return Recipe((CenterCrop(*_pair(size)),), DecodeOptions(**decode))


def fit(size: Size = 224, **decode: Any) -> Recipe:
    """Scale to fit inside ``size``, and pad."""
    return Recipe((Fit(*_pair(size)),), DecodeOptions(**decode))


def tiles(size: Size = 128, **decode: Any) -> Recipe:
    """Cut into whole tiles of ``size``, row by row; smaller pictures give no sample."""
    return Recipe((Tiles(*_pair(size)),), DecodeOptions(**decode))


def noise_frames(size: Size = 128, **decode: Any) -> Recipe:
    """Cut into tiles of ``size``; what is smaller is centred on a canvas of noise."""
    return Recipe((NoiseFrames(*_pair(size)),), DecodeOptions(**decode))


NAMED: dict[str, Callable[..., Recipe]] = {
    "resize": resize,
    "center-crop": center_crop,
    "fit": fit,
    "tiles": tiles,
    "noise-frames": noise_frames,
}


def read_recipe(name: str, size: Size | None = None) -> Recipe:
    """Return a named recipe, or the one in a TOML file, at another size if one is given.

    Raises
    ------
    OptionError
        If there is no such recipe, naming the nearest.
    """
    if name in NAMED:
        return NAMED[name](size) if size else NAMED[name]()
    if not name.endswith(".toml"):
        near = difflib.get_close_matches(name, NAMED, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise OptionError(
            f"no recipe is called {name!r}; there are {', '.join(NAMED)}, or a .toml file.{hint}"
        )
    recipe = _from_toml(name)
    return _sized(recipe, size) if size else recipe


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
    for setting in settings:
        target, equals, text = setting.partition("=")
        place, dot, name = target.partition(".")
        if not (equals and dot and name):
            raise OptionError(f"--set takes transform.field=value, got {setting!r}")
        found = [step for step in content["transform"] if step["name"] == place]
        if place == "decode":
            found = [content["decode"]]
        if not found:
            names = ", ".join(["decode", *(step["name"] for step in content["transform"])])
            raise OptionError(f"--set {setting}: the recipe has no {place!r}; it has {names}")
        for step in found:
            step[name] = _value(text)
    return Recipe.from_dict(content)


def masked(recipe: Recipe, column: str) -> Recipe:
    """Return the recipe with a column of masks that go along with the pictures."""
    return replace(recipe, targets=(*recipe.targets, MaskFile(column=column)))


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
    """Return the recipe with the last transform that has a size at another one."""
    height, width = _pair(size)
    steps: list[Any] = list(recipe.transforms)
    for i in reversed(range(len(steps))):
        names = {f.name for f in fields(steps[i])}
        if {"height", "width"} <= names:
            steps[i] = replace(steps[i], height=height, width=width)
            return replace(recipe, transforms=tuple(steps))
    raise OptionError("--size: no transform of this recipe has a height and a width")


def _pair(size: Size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
