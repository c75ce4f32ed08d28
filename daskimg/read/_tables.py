"""Labels from a table beside the store: found by their keys, encoded as a build would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from daskimg.errors import OptionError
from daskimg.options import given
from daskimg.read._columns import Column
from daskimg.words import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

_SHORT = range(-(1 << 31), 1 << 31)
_EXACT = 1 << 53  # whole numbers that a float holds without loss


def frame_of(table: Any) -> pd.DataFrame:
    """Return a dataframe, or what makes one, as a dataframe; refuse a path and the like."""
    try:
        return pd.DataFrame(table)
    except (ValueError, TypeError):
        raise OptionError(
            f"table must be a dataframe, got {given(table)}; try pd.read_csv('labels.csv')"
        ) from None


def column_codes(
    table: pd.DataFrame, on: str, keys: pd.Series[Any], taken: Collection[str]
) -> dict[str, Column]:
    """Return the other columns of a table, encoded, for samples with the given keys.

    Raises
    ------
    OptionError
        If a key is missing in the table or twice there, a column's name is ``taken`` by an
        array, or its cells are neither text nor numbers.
    """
    if on not in table:
        there = ", ".join(map(str, table.columns))
        raise OptionError(f"the table has no column {on!r}, it has {there}; name it with on=")
    others = [str(name) for name in table.columns if name != on]
    if not others:
        raise OptionError(f"the table has no column but {on!r}; give it those to be added")
    for name in others:
        if name in taken:
            raise OptionError(
                f"a column cannot be called {name!r}, which is an array of the store; "
                f"rename it, as by table.rename(columns={{{name!r}: 'my_{name}'}})"
            )
    lines = _lines_of(pd.Index(table[on]), on, keys)
    return {name: _encoded(name, table[name].iloc[lines]) for name in others}


def _lines_of(there: pd.Index[Any], on: str, keys: pd.Series[Any]) -> NDArray[np.int64]:
    """Return the table's line of each sample."""
    wanted = there.isin(keys)
    twice = there[wanted & there.duplicated()]
    if len(twice):
        raise OptionError(
            f"the {on} {twice[0]!r} is in the table twice{_others(', as well as ', twice)}; "
            "give each once"
        )
    lines = there[wanted].get_indexer(pd.Index(keys))
    missing = pd.unique(keys[lines < 0])
    if len(missing):
        raise OptionError(
            f"the table has no line for {on} {missing[0]!r}{_others(', nor for ', missing)}; "
            "add what is missing, or select the samples it has by select(keys=...)"
        )
    return np.flatnonzero(wanted)[lines]


def _others(begin: str, found: Any) -> str:
    return f"{begin}{counted(len(found) - 1, 'other')}" if len(found) > 1 else ""


def _encoded(name: str, cells: pd.Series[Any]) -> Column:
    if pd.api.types.is_numeric_dtype(cells):  # booleans among them
        return _numbers(name, cells)
    if isinstance(cells.dtype, pd.CategoricalDtype):
        names = tuple(map(str, cells.cat.categories))
        return Column(name, "class", cells.cat.codes.to_numpy(np.int32), names)
    cells = cells.replace("", None)
    kind = pd.api.types.infer_dtype(cells, skipna=True)
    if kind not in ("string", "empty"):
        raise OptionError(
            f"column {name!r} must hold text or numbers, got {kind}; make it one of these first"
        )
    codes, found = pd.factorize(cells, sort=True)
    return Column(name, "class", codes.astype(np.int32), tuple(map(str, found)))


def _numbers(name: str, cells: pd.Series[Any]) -> Column:
    missing = cells.isna().to_numpy()
    if pd.api.types.is_float_dtype(cells):
        values = cells.to_numpy(np.float64, na_value=np.nan)
        there = values[~missing]
        if not ((there == np.rint(there)) & (np.abs(there) <= _EXACT)).all():
            return Column(name, "float", values.astype(np.float32))
    filled = cells.fillna(-1) if missing.any() else cells
    whole = filled.to_numpy(np.int64)
    short = not len(whole) or (int(whole.min()) in _SHORT and int(whole.max()) in _SHORT)
    return Column(name, "int", whole.astype(np.int32) if short else whole)
