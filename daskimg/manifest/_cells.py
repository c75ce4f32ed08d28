"""Values of a column: their kinds, the one type that fits them all, and the conversion to it.

A column's type is a property of the whole table, never of the piece that happens to be in
memory: a first pass collects kinds, ``settled`` decides, a second pass converts.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from daskimg.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Column: TypeAlias = pa.Array | NDArray[np.object_]
"""Values as a source gives them: Arrow where it has types, else Python objects."""

EXACT = 1 << 53
"""The whole numbers up to here, and only those, are safe in a float64."""

_INT64 = range(-(1 << 63), 1 << 63)
_INTEGER = r"^(0|-?[1-9][0-9]*)$"  # 00123, +49 and -0 are names, not numbers
_NUMBER = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def text_of(value: Any) -> str:
    """Return a value as text; a whole float reads as the integer it is.

    >>> text_of(3.0), text_of(0.5), text_of(7), text_of("a"), text_of([1, "b"])
    ('3', '0.5', '7', 'a', '[1, "b"]')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)):
        number = float(value)
        whole = number.is_integer() and abs(number) <= EXACT
        return str(int(number)) if whole else repr(number)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (list, tuple, dict, np.ndarray)):
        return json.dumps(value, ensure_ascii=False, default=_plain_json)
    return str(value)


def _plain_json(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def is_missing(value: Any) -> bool:
    """Tell whether a value stands for none: ``None``, ``NaN``, ``NA`` or ``NaT``."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def is_text(column: Column) -> bool:
    """Tell whether a column is Arrow text."""
    return not isinstance(column, np.ndarray) and bool(pa.types.is_string(column.type))


def only_text(values: NDArray[np.object_]) -> bool:
    """Tell whether Python objects are text or missing, at the speed of C."""
    return str(pd.api.types.infer_dtype(values, skipna=True)) == "string"


def objects(values: Iterable[Any], count: int) -> NDArray[np.object_]:
    """Return (value,) Python objects as an array; lists in it stay lists."""
    return np.fromiter(values, dtype=object, count=count)


def arrow(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
    """Return an Arrow array; refuse text that is not Unicode, naming it.

    Raises
    ------
    ManifestError
        If there is a name that UTF-8 cannot hold.
    """
    try:
        return pa.array(values, type=kind, from_pandas=True)
    except UnicodeEncodeError as error:
        raise ManifestError(
            f"{error.object!r} is not valid Unicode, so it cannot be stored; rename it in UTF-8"
        ) from None


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return one array without dictionary, chunks or variants of the text type."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # pyarrow, of a chunked array without chunks
            array = pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    return array


@dataclass(slots=True)
class Tally:
    """The kinds of values seen in one column so far.

    Attributes
    ----------
    cells
        The column is of a text table, where ``12`` may be a number and the empty cell is none.
    kinds
        Any of ``bool int wide huge float text bytes list json`` (``wide``: beyond 2**53,
        ``huge``: beyond 64 bits), ``item:`` and a kind for what lists hold, ``other:`` and a
        type.
    missing
        Whether a value is missing.
    """

    cells: bool
    kinds: set[str] = field(default_factory=set)
    missing: bool = False
    _others: dict[str, pa.DataType] = field(default_factory=dict)

    def add(self, column: Column) -> None:
        """Take note of a further piece of the column."""
        if self.cells:
            self._add_cells(column)
        elif isinstance(column, np.ndarray):
            self.kinds |= kinds_of_objects(column)
            self.missing = self.missing or bool(pd.isna(column).any())
        else:
            self.kinds |= _kinds_of_arrow(column)
            self._others[f"other:{column.type}"] = column.type
            self.missing = self.missing or column.null_count > 0

    def _add_cells(self, cells: pa.Array) -> None:
        filled = cells.filter(pc.not_equal(cells, ""))
        self.missing = self.missing or len(filled) < len(cells)
        if "text" not in self.kinds:  # once text, for ever text
            self.kinds |= _kinds_of_cells(filled)

    def settled(self) -> pa.DataType | None:
        """Return the one type for all values; ``None`` for bytes, which are not kept."""
        return _settled(self.kinds, self._others)


def _kinds_of_cells(cells: pa.Array) -> set[str]:
    integer = pc.match_substring_regex(cells, _INTEGER)
    others = cells.filter(pc.invert(integer))
    kinds = _kinds_of_integers(cells.filter(integer))
    if len(others):
        if not pc.all(pc.match_substring_regex(others, _NUMBER)).as_py():
            return {"text"}
        finite = pc.all(pc.is_finite(pc.cast(others, pa.float64()))).as_py()
        kinds |= {"float" if finite else "text"}  # 1e999 is not a number we could keep
    return kinds


def _kinds_of_integers(cells: pa.Array) -> set[str]:
    """Look at digits only where there are too many for a float."""
    if not len(cells):
        return set()
    long = cells.filter(pc.greater(pc.utf8_length(cells), 15))
    return {"int"}.union(*(_kinds_of_value(int(cell)) for cell in long.to_pylist()))


def kinds_of_objects(values: NDArray[np.object_]) -> set[str]:
    """Return the kinds of Python objects; see ``Tally``."""
    inferred = str(pd.api.types.infer_dtype(values, skipna=True))
    if inferred in _INFERRED:
        return _INFERRED[inferred]
    kinds: set[str] = set()
    return kinds.union(*map(_kinds_of_value, values))


_INFERRED = {"string": {"text"}, "floating": {"float"}, "boolean": {"bool"}}


def _kinds_of_value(value: Any) -> set[str]:
    if is_missing(value):
        return set()
    if isinstance(value, (bool, np.bool_)):
        return {"bool"}
    if isinstance(value, (int, np.integer)):
        number = int(value)
        return {"int" if abs(number) <= EXACT else "wide" if number in _INT64 else "huge"}
    if isinstance(value, (float, np.floating)):
        return {"float"}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes"}
    if isinstance(value, dict):
        return {"bytes" if isinstance(value.get("bytes"), bytes) else "json"}
    if isinstance(value, (list, tuple, np.ndarray)):
        return {"list"}.union(*({f"item:{k}" for k in _kinds_of_value(item)} for item in value))
    return {"text"}


def _kinds_of_arrow(array: pa.Array) -> set[str]:
    kind = array.type
    if pa.types.is_integer(kind):
        return _kinds_of_range(array)
    if is_list(kind):
        kinds = _kinds_of_arrow(plain(array.flatten()))
        if not any("other:" in k for k in kinds):
            return {"list"} | {f"item:{k}" for k in kinds}
    for name, belongs in _ARROW_KINDS.items():
        if belongs(kind):
            return {name} if name else set()
    return {f"other:{kind}"}


_ARROW_KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    "": pa.types.is_null,
    "bool": pa.types.is_boolean,
    "float": pa.types.is_floating,
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "bytes": lambda kind: is_binary(kind),
}


def is_binary(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type is bytes, or Hugging Face's struct of bytes and path."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and is_binary(kind.field("bytes").type)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type is a list of any sort."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _kinds_of_range(array: pa.Array) -> set[str]:
    span = pc.min_max(array).as_py()
    ends = [end for end in span.values() if end is not None]
    return {"int"}.union(*map(_kinds_of_value, ends))


def _settled(kinds: set[str], others: dict[str, pa.DataType]) -> pa.DataType | None:
    whole = {kind for kind in kinds if not kind.startswith("item:")}
    if "bytes" in whole:
        return None
    if whole == {"bool"}:
        return pa.bool_()
    if whole and whole <= {"int", "wide"}:
        return pa.int64()
    if whole and whole <= {"int", "float"}:  # with `wide` among them, floats would lose digits
        return pa.float64()
    if whole == {"list"}:
        return _settled_list({kind.removeprefix("item:") for kind in kinds - whole})
    if len(whole) == 1:
        return others.get(next(iter(whole)), pa.string())
    return pa.string()


def _settled_list(kinds: set[str]) -> pa.DataType:
    whole = {kind for kind in kinds if not kind.startswith("item:")}
    is_mixed = "list" in whole and len(whole) > 1
    if is_mixed or {kind.rpartition(":")[2] for kind in kinds} & {"json", "bytes"}:
        return pa.string()  # lists of objects, or of lists and others: kept as JSON
    return pa.list_(_settled(kinds, {}))


def type_name(kind: pa.DataType) -> str:
    """Return how a plan calls a type: ``text int64 float64 bool list``, or Arrow's name."""
    if is_list(kind):
        return "list"
    return {"string": "text", "double": "float64"}.get(str(kind), str(kind))


def converted(column: Column, kind: pa.DataType, *, cells: bool) -> pa.Array:
    """Return a column as the type that its table settled on; no value depends on its piece."""
    if isinstance(column, np.ndarray):
        return _from_objects(column, kind)
    if cells:
        blank = pc.equal(column, "")
        return pc.if_else(blank, pa.scalar(None, pa.string()), column).cast(kind)
    if column.type == kind:
        return column
    if pa.types.is_null(column.type) or _castable(column.type, kind):
        return column.cast(kind, safe=False)
    return _from_objects(objects(column.to_pylist(), len(column)), kind)


def _castable(given: pa.DataType, kind: pa.DataType) -> bool:
    if is_list(given) and is_list(kind):
        return _castable(given.value_type, kind.value_type)
    numbers = (pa.types.is_integer(t) or pa.types.is_floating(t) for t in (given, kind))
    return str(given).removeprefix("large_") == str(kind) or all(numbers)


def _from_objects(values: NDArray[np.object_], kind: pa.DataType) -> pa.Array:
    try:
        return arrow(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError):
        return arrow(list(_fitted(values, kind)), kind)


def _fitted(values: Iterable[Any], kind: pa.DataType) -> Iterator[Any]:
    for value in values:
        if is_missing(value):
            yield None
        elif is_list(kind):
            yield list(_fitted(value, kind.value_type))
        else:
            yield text_of(value) if pa.types.is_string(kind) else value


def texts(column: Column) -> pa.Array:
    """Return (value,) Arrow text of any column, missing where it is; see ``text_of``."""
    if isinstance(column, np.ndarray) or not (
        is_text(column) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)
    ):
        values = column if isinstance(column, np.ndarray) else column.to_pylist()
        return _from_objects(objects(values, len(values)), pa.string())
    return column if is_text(column) else column.cast(pa.string())
