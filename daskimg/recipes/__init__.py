"""Recipes that have a name: TOML files in this folder, to be used or to be edited.

``daskimg recipe NAME`` prints one; ``--recipe NAME`` uses it.
"""

from daskimg.recipes._named import (
    Size,
    adjusted,
    center_crop,
    fit,
    masked,
    names,
    noise_frames,
    read_recipe,
    recipe_text,
    resize,
    tiles,
)

__all__ = [
    "Size",
    "adjusted",
    "center_crop",
    "fit",
    "masked",
    "names",
    "noise_frames",
    "read_recipe",
    "recipe_text",
    "resize",
    "tiles",
]
