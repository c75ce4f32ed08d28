"""A cell of the manifest as numbers, whatever form the table gave it; no other kind of cell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.errors import SampleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_SHOWN = 60  # characters of a cell that are worth keeping in a ledger
_GREATEST = 2.0**24  # beyond it float32 no longer counts by ones


def numbers(
    cells: Mapping[str, Any], column: str, shape: tuple[int, ...] = ()
) -> NDArray[np.float64]:
    """Return a cell's numbers: an array of ``shape``, the caller's own.

    Parameters
    ----------
    cells
        A row's cells by the name of their column.
    column
        Which cell: a number, a list of lists, an array, or any of them as JSON text.
    shape
        What is expected. ``null`` and NaN are numbers that are missing, and become NaN.

    Raises
    ------
    SampleError
        If the cell holds anything else, or coordinates that no picture has.

    >>> numbers({"center": "[317.5, 40]"}, "center", (2,))
    array([317.5,  40. ])
    """
    cell = cells[column]
    found = _array(cell)
    if found is None:
        raise SampleError("target", f"{column} holds no numbers: {_shown(cell)}")
    if found.shape != shape:
        raise SampleError(
            "target", f"{column} must be {_counted(shape)}, got {_counted(found.shape)}"
        )
    if (np.abs(found) > _GREATEST).any():
        raise SampleError("target", f"{column} holds a number over {_GREATEST:.0f}")
    return found


def _array(cell: Any) -> NDArray[np.float64] | None:
    if cell is None:
        return None
    try:
        value = json.loads(cell) if isinstance(cell, str) else cell
        return np.array(_lists(value), np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _lists(value: Any) -> Any:
    """Return lists all the way down: Parquet gives arrays of arrays, of dtype object."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def _counted(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + " numbers" if shape else "one number"


def _shown(cell: Any) -> str:
    text = ascii(cell) if isinstance(cell, (str, type(None))) else f"a {type(cell).__name__}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
