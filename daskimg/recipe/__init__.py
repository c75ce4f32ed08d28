"""What is done to a picture: an ordered tuple of transforms, as pure data.

A recipe is hashable, goes to and from TOML, and is checked end to end before a byte is read.
"""

from daskimg.recipe._recipe import Recipe, Row, Stage
from daskimg.recipe._steps import NAMED, TARGETS, short_name, step_class
from daskimg.recipe._told import settings_of

__all__ = ["NAMED", "TARGETS", "Recipe", "Row", "Stage", "settings_of", "short_name", "step_class"]
