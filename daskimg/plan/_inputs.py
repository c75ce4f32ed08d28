"""Inputs of another type than a plan is made of: refused here, not deep inside."""

from __future__ import annotations

import os
from typing import Any

from daskimg.errors import OptionError
from daskimg.manifest import Manifest, Split
from daskimg.options import RunOptions, StoreOptions, given


def check_inputs(manifest: object, recipe: object) -> None:
    """Refuse what ``read_manifest`` did not return, and what is no recipe.

    Raises
    ------
    OptionError
        Saying what was given, and what would work.
    """
    from daskimg.recipe import Recipe  # brings all transforms, which no reader needs

    if not isinstance(manifest, Manifest):
        source = repr(manifest) if isinstance(manifest, str | os.PathLike) else "..."
        raise OptionError(
            f"manifest must come from daskimg.read_manifest, got {given(manifest)}; "
            f"try read_manifest({source})"
        )
    if not isinstance(recipe, Recipe):
        raise OptionError(f"recipe must be a Recipe, got {given(recipe)}; {_remedy(recipe)}")


def _remedy(recipe: object) -> str:
    if isinstance(recipe, str):
        return f"try daskimg.recipes.read_recipe({recipe!r})"
    if isinstance(recipe, list | tuple):
        return "try Recipe([...]) around it"
    return "try daskimg.recipes.resize(224)"


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings of ``plan_store`` of another type; ``None`` is the default of each."""
    for name, (kinds, advice) in _SETTINGS.items():
        value = settings[name]
        if value is not None and not isinstance(value, kinds):
            raise OptionError(f"{name} cannot be {given(value)}; try {advice}")


_SETTINGS: dict[str, tuple[tuple[type, ...], str]] = {
    "split": ((str, Split), "split='every:10'"),
    "store": ((StoreOptions,), "store=StoreOptions(codec='lz4')"),
    "options": ((RunOptions,), "options=RunOptions(max_failed=0.05)"),
}


def address(url: object) -> str:
    """Return a store's address as text; a path is one."""
    if not isinstance(url, str | os.PathLike):
        raise OptionError(f"url must be a path or a URL, got {given(url)}; try 'out.zarr'")
    return str(os.fspath(url))
