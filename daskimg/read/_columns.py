"""Columns that views have besides their store's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from daskimg.read._stored import Stored


@dataclass(frozen=True, eq=False)
class Column:
    """A column that a view has in place of a store's, or besides.

    Attributes
    ----------
    column
        What the table calls it.
    kind
        ``class``, ``int``, ``float`` or ``multi``, as in a store.
    numbers : (sample,) or (sample, class)
        Codes or numbers; -1 or NaN = none.
    classes
        Names of the codes, if it has them.
    """

    column: str
    kind: str
    numbers: NDArray[Any]
    classes: tuple[str, ...] = ()

    def at(self, places: NDArray[np.int64]) -> Column:
        """Return the column of some of its samples."""
        return replace(self, numbers=self.numbers[places])

    def described(self, array: str, attributes: dict[str, Any]) -> dict[str, Any]:
        """Return a store's attributes with this column as one of its arrays."""
        columns = attributes["columns"] | {array: [self.column, self.kind]}
        names = {k: v for k, v in attributes["classes"].items() if k != self.column}
        if self.classes:
            names[self.column] = list(self.classes)
        return attributes | {"columns": columns, "classes": names}


def merged_classes(stores: Sequence[Stored]) -> dict[str, Column]:
    """Return the label columns of which classes differ, numbered anew for all stores."""
    found = {}
    for array, (column, kind) in stores[0].attributes["columns"].items():
        names = [tuple(each.attributes["classes"].get(column, ())) for each in stores]
        if len(set(names)) > 1:
            union = tuple(dict.fromkeys(name for each in names for name in each))
            parts = [
                _renumbered(each.array(array), [union.index(name) for name in own], len(union))
                for each, own in zip(stores, names, strict=True)
            ]
            found[array] = Column(column, kind, np.concatenate(parts), union)
    return found


def _renumbered(values: NDArray[Any], codes: list[int], count: int) -> NDArray[Any]:
    if values.ndim == 2:  # several classes at once: a place each
        out = np.zeros((len(values), count), values.dtype)
        out[:, codes] = values
        return out
    numbers: NDArray[Any] = np.array([*codes, -1], values.dtype)[values]
    return numbers
