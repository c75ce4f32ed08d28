"""Labels: what a column of them means, and its encoding as numbers, slice by slice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from daskimg.errors import ManifestError
from daskimg.manifest._cells import EXACT, is_missing, text_of
from daskimg.manifest._choices import LabelKind, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

Unknown = Literal["refuse", "none"]

SEPARATORS = ("|", ";", ",", " ")
"""What may stand between the names of a ``multi`` label, in order of preference."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64 = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True, slots=True)
class Label:
    """How a column of labels becomes an array.

    Attributes
    ----------
    array
        The array's name: ``label`` for the first label column, else the column's own.
    column
        The column's name in the rows table.
    kind
        ``class``: a name becomes its place in ``classes``. ``int``, ``float``: the number.
        ``multi``: several names become 0 or 1 for each of ``classes``.
    dtype
        int32 (class, int), int64 (int beyond 32 bits), float32 or uint8 (multi).
    classes
        The names, for ``class`` and ``multi``.
    separator
        What stands between the names of a ``multi`` label that is text; "" for lists.
    unknown
        Whether a name outside ``classes`` is refused, or counts as none.
    coded
        Whether the values are places in ``classes``, not names.
    counts
        Rows of each class, as the scan found them.
    empties
        Rows without a label.
    """

    array: str
    column: str
    kind: LabelKind
    dtype: str
    classes: tuple[str, ...] = ()
    separator: str = ""
    unknown: Unknown = "refuse"
    coded: bool = False
    counts: tuple[int, ...] = field(default=(), compare=False, repr=False)
    empties: int = field(default=0, compare=False)

    @property
    def values(self) -> tuple[str, ...]:
        """What stands in the table for each of ``classes``: its name or, if coded, its place."""
        return tuple(map(str, range(len(self.classes)))) if self.coded else self.classes

    def to_json(self) -> dict[str, Any]:
        """Return what the encoding depends on, and nothing else, as plain values."""
        given = {
            "array": self.array,
            "column": self.column,
            "kind": self.kind,
            "dtype": self.dtype,
            "classes": list(self.classes),
            "separator": self.separator,
            "unknown": self.unknown,
        }
        return given | {"coded": True} if self.coded else given  # as it was before there was any

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Label:
        """Return the label that ``to_json`` wrote; counts do not travel."""
        return cls(**{**given, "classes": tuple(given["classes"])})


def encode_label(
    values: pd.Series[Any], label: Label, unknown: Unknown | None = None
) -> NDArray[Any]:
    """Return labels as numbers; the same for a row whatever slice it comes in.

    Parameters
    ----------
    values : (row,)
        Part of the column ``label.column`` of the rows table.
    label
        What the scan of the whole table found.
    unknown
        What to do with a name outside ``label.classes``; ``label.unknown`` if not given.

    Returns
    -------
    (row,) of ``label.dtype``, -1 (float: NaN) for none; ``multi``: (row, class) uint8.

    Raises
    ------
    ManifestError
        If a value is no label of this kind; the scan has seen none such.
    """
    number = {name: i for i, name in enumerate(label.values)}
    if label.kind in ("class", "multi") and (unknown or label.unknown) == "refuse":
        number = _Refusing(number)
        number.column = label.column
    if label.kind == "multi":
        return _encode_multi(values, label, number)
    if label.kind == "class":
        return _looked_up(values, label.dtype, -1, lambda value: number.get(text_of(value), -1))
    if label.kind == "int":
        return _looked_up(values, label.dtype, -1, int_of)
    return _looked_up(values, label.dtype, np.nan, float_of)


class _Refusing(dict[str, int]):
    """Numbers of classes; a name that is not among them is an error."""

    column = ""

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ARG002  dict's signature
        if name not in self:
            raise ManifestError(
                f"label column {self.column!r}: {name!r} is none of the {len(self)} classes"
                f"{did_you_mean(name, self)}"
            )
        return self[name]


def _looked_up(
    values: pd.Series[Any], dtype: str, missing: float, encode: Callable[[Any], float]
) -> NDArray[Any]:
    """Encode each distinct value once."""
    codes, distinct = pd.factorize(values)
    table = [missing if is_none(value) else encode(value) for value in distinct]
    with np.errstate(over="ignore"):  # a float beyond float32 is infinite
        return np.array([*table, missing], dtype)[codes]  # code -1, a missing value, is the last


def _encode_multi(values: pd.Series[Any], label: Label, number: dict[str, int]) -> NDArray[Any]:
    encoded = np.zeros((len(values), len(label.classes)), label.dtype)
    for row, value in enumerate(values):
        for name in names_in(value, label.separator):
            place = number.get(name, -1)
            if place >= 0:
                encoded[row, place] = 1
    return encoded


def is_none(value: Any) -> bool:
    """Tell whether a value is no label: missing, or empty text."""
    return is_missing(value) or (isinstance(value, str) and not value)


def names_in(value: Any, separator: str) -> Iterator[str]:
    """Yield the names that one ``multi`` label holds.

    >>> list(names_in("red | blue|", "|")), list(names_in([3, None], "")), list(names_in(7, ","))
    (['red', 'blue'], ['3'], ['7'])
    """
    if isinstance(value, (list, tuple, np.ndarray)):
        yield from (text_of(item) for item in value if not is_none(item))
    elif isinstance(value, str) and separator:
        yield from filter(None, map(str.strip, value.split(separator)))
    elif not is_none(value):
        yield text_of(value)


def int_of(value: Any) -> int:
    """Return the whole number that a value says.

    >>> int_of("00123"), int_of(3.0), int_of(True)
    (123, 3, 1)

    Raises
    ------
    ValueError
        If it is not whole, or beyond what it can be without lost digits.
    """
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    elif isinstance(value, (str, float, np.floating)):
        value = float(value)
        if not value.is_integer() or abs(value) > EXACT:
            raise ValueError("not a whole number")
    if int(value) not in _INT64:
        raise ValueError("more than 64 bits")
    return int(value)


def float_of(value: Any) -> float:
    """Return the number that a value says, or raise ``ValueError``."""
    return float(value)
