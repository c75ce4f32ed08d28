"""One pass over a table before it is scanned: its splits, and the sizes of its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskimg.plan._expansion import LINE, Listed

if TYPE_CHECKING:
    from daskimg.manifest import Manifest, Split
    from daskimg.recipe import Recipe


def named_split(manifest: Manifest, split: Split | str | None) -> Split | None:
    """Return how a table is split, its names known."""
    raise NotImplementedError


def expand(
    manifest: Manifest, recipes: dict[str, Recipe], split: Split | None, limit: int | None
) -> Listed | None:
    """Return what each row gives, or ``None`` if that follows from the number of rows."""
    if split is None and not recipes[""].by_size:
        return None
    raise NotImplementedError
