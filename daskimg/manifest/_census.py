"""A census of one label column: names, range, empties, in one pass and bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskimg.errors import ManifestError
from daskimg.manifest._cells import (
    EXACT,
    Column,
    arrow,
    is_list,
    is_text,
    kinds_of_objects,
    only_text,
    text_of,
)
from daskimg.manifest._choices import LabelChoice, LabelKind, did_you_mean
from daskimg.manifest._labels import (
    SEPARATORS,
    Label,
    Unknown,
    float_of,
    int_of,
    is_none,
    names_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from daskimg.manifest._classes import ClassNames

MAX_NAMES = 100_000
"""Names above which a column is not taken for classes unless told so."""

_INT32 = range(-(1 << 31), 1 << 31)


@dataclass(slots=True)
class Names:
    """Distinct names with their rows, how many and the first; forgotten beyond a limit."""

    limit: int | None
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    overflowed: bool = False

    def add(self, name: str, count: int, first: int) -> None:
        """Count ``count`` more rows, of which the first is ``first``."""
        if self.overflowed:
            return
        known, earliest = self.rows.get(name, (0, first))
        self.rows[name] = known + count, min(earliest, first)
        if self.limit is not None and len(self.rows) > self.limit:
            self.overflowed = True
            self.rows.clear()

    def renamed(self, rename: Callable[[str], str]) -> Names:
        """Return the names as they read once the column's type is known."""
        other = Names(self.limit, overflowed=self.overflowed)
        for name, (count, first) in self.rows.items():
            other.add(rename(name), count, first)
        return other


@dataclass(slots=True)
class Span:
    """Range of numbers, and whether all are whole."""

    low: float = np.inf
    high: float = -np.inf
    whole: bool = True

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Widen to (value,) numbers; NaN is none."""
        numbers = numbers[~np.isnan(numbers)]
        if not len(numbers):
            return
        self.low = min(self.low, float(numbers.min()))
        self.high = max(self.high, float(numbers.max()))
        whole = (np.abs(numbers) <= EXACT) & (np.floor(numbers) == numbers)
        self.whole = self.whole and bool(whole.all())

    @property
    def is_whole(self) -> bool:
        """Whether there are numbers, and all are whole."""
        return self.whole and self.low <= self.high

    @property
    def dtype(self) -> str:
        """The least integer type, of two, that holds the range."""
        if self.low > self.high:
            return "int32"
        return "int32" if int(self.low) in _INT32 and int(self.high) in _INT32 else "int64"


class Census:
    """Collects what must be known of a whole label column before any of it is encoded.

    Types are settled later, for the whole table, so names are kept as the source spells
    them, and ``multi`` text is split at every separator it might turn out to use.
    """

    def __init__(self, choice: LabelChoice) -> None:
        self.choice = choice
        self.names = Names(None if choice.kind == "class" else MAX_NAMES)
        self.split = {separator: Names(MAX_NAMES) for separator in ("", *SEPARATORS)}
        self.separators: set[str] = set()
        self.span = Span()
        self.empties = 0
        self.has_lists = self.has_scalars = self.has_booleans = False

    def add(self, column: Column, row: int, *, numeric: bool) -> None:
        """Count a further piece.

        Parameters
        ----------
        column
            Its values.
        row
            Its first row's number.
        numeric
            Whether its text, up to and with this piece, is all numbers of a text table.
        """
        listed = _lists(column)
        if listed is not None:
            self._add_lists(listed, row)
            return
        scalars = _scalars(column)
        if numeric or not is_text(scalars):
            self.span.add(_numbers(scalars))
        if self.choice.kind in ("int", "float") and pa.types.is_integer(scalars.type):
            self.empties += scalars.null_count
            self.has_scalars = True
            return
        for value, count, first in _distinct(scalars):
            if is_none(value):
                self.empties += count
            else:
                self.has_scalars = True
                self._add_value(value, count, row + first)

    def _add_value(self, value: Any, count: int, first: int) -> None:
        kind = self.choice.kind
        if kind in ("int", "float"):
            self.has_booleans = self.has_booleans or isinstance(value, bool)
            self.span.add(np.array([self._number(value, first)], np.float64))
        elif kind == "multi":
            self._add_split(text_of(value), count, first)
        else:
            self.names.add(text_of(value), count, first)

    def _number(self, value: Any, row: int) -> float:
        try:
            return int_of(value) if self.choice.kind == "int" else float_of(value)
        except (ValueError, TypeError, OverflowError):
            wanted = "a whole number" if self.choice.kind == "int" else "a number"
            raise ManifestError(
                f"label column {self.choice.column!r}: {text_of(value)!r} in row {row} is not "
                f"{wanted} that can be kept exactly; try {self.choice.column}:class"
            ) from None

    def _add_split(self, text: str, count: int, first: int) -> None:
        self.separators.update(separator for separator in SEPARATORS if separator in text)
        for separator, names in self.split.items():
            for name in set(names_in(text, separator)):
                names.add(name, count, first)

    def _add_lists(self, values: Iterable[Any], row: int) -> None:
        for i, value in enumerate(values):
            names = set(names_in(value, ""))
            self.empties += not names
            is_scalar = bool(names) and not isinstance(value, (list, tuple, np.ndarray))
            self.has_scalars = self.has_scalars or is_scalar
            self.has_lists = self.has_lists or not is_scalar
            for name in names:
                self.split[""].add(name, 1, row + i)


def _lists(column: Column) -> Iterable[Any] | None:
    """Return the values of a column if there are lists among them."""
    if not isinstance(column, np.ndarray):
        return cast("list[Any]", column.to_pylist()) if is_list(column.type) else None
    if only_text(column):
        return None
    return column if any(isinstance(v, (list, tuple, np.ndarray)) for v in column) else None


def _scalars(column: Column) -> pa.Array:
    """Return a column as Arrow numbers or, if it is mixed, as Arrow text."""
    if not isinstance(column, np.ndarray):
        return column
    kinds = kinds_of_objects(column)
    if kinds in _PLAIN:
        return arrow(column, None)
    return arrow([None if is_none(value) else text_of(value) for value in column], pa.string())


# Only these: Arrow would take False for 0.0 beside floats.
_PLAIN: tuple[set[str], ...] = ({"bool"}, {"int"}, {"int", "wide"}, {"float"}, {"int", "float"})


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def _numbers(scalars: pa.Array) -> NDArray[np.float64]:
    """Return (value,) the numbers of a column, missing ones left out."""
    if is_text(scalars):
        scalars = scalars.filter(pc.not_equal(scalars, ""))
    elif not _is_number(scalars.type):
        return np.empty(0)
    if pa.types.is_boolean(scalars.type):
        scalars = scalars.cast(pa.int64())
    numbers = scalars.drop_null().cast(pa.float64(), safe=False)
    return cast("NDArray[np.float64]", numbers.to_numpy(zero_copy_only=False))


def _distinct(scalars: pa.Array) -> Iterator[tuple[Any, int, int]]:
    """Yield each distinct value, its number of rows, and the first of them."""
    encoded = scalars.dictionary_encode("encode")
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(encoded.dictionary))
    firsts = np.empty(len(counts), np.int64)
    firsts[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # the last to write is the first row
    yield from zip(encoded.dictionary.to_pylist(), counts.tolist(), firsts.tolist(), strict=True)


def settled_kind(census: Census, kind: pa.DataType | None) -> LabelKind:
    """Return the kind of label that a column of type ``kind`` is, or refuse it."""
    column, wanted = census.choice.column, census.choice.kind
    if census.has_lists and census.has_scalars:
        raise ManifestError(
            f"label column {column!r} holds lists and single values; make all lists"
        )
    if kind is None or not _can_be_label(kind):
        raise ManifestError(f"label column {column!r} holds {kind or 'bytes'}, which is no label")
    if census.has_booleans and pa.types.is_string(kind):
        raise ManifestError(f"label column {column!r} mixes booleans with other values")
    if census.has_lists and wanted not in (None, "multi"):
        raise ManifestError(f"label column {column!r} holds lists; its kind can only be multi")
    if wanted is not None:
        return wanted
    if is_list(kind) or census.has_lists:
        return "multi"
    if pa.types.is_string(kind):
        return "class"
    return "float" if pa.types.is_floating(kind) and not census.span.is_whole else "int"


def _can_be_label(kind: pa.DataType) -> bool:
    if is_list(kind):
        return not is_list(kind.value_type)
    return _is_number(kind) or bool(pa.types.is_string(kind))


def number_label(census: Census, column: str, kind: LabelKind) -> tuple[Label, list[str]]:
    """Return the label of a column of numbers, and remarks for the user."""
    choice, span = census.choice, census.span
    dtype = span.dtype if kind == "int" else "float32"
    remarks = []
    if kind == "int" and span.low < 0:
        remarks.append(
            f"label column {choice.column!r} has numbers below zero; a -1 in the store also "
            f"stands for no label"
        )
    return Label(choice.array, column, kind, dtype, empties=census.empties), remarks


def name_label(
    census: Census, column: str, kind: pa.DataType, given: ClassNames | None, unknown: Unknown
) -> tuple[Label, list[str]]:
    """Return the label of a column of names, and remarks for the user.

    Parameters
    ----------
    column, kind
        The column's name in the rows table, and the type it settled on.
    given
        The names in the order wanted, or ``None`` for those that there are, sorted.
    unknown
        What to do with names that are not in ``given``.
    """
    choice = census.choice
    is_multi = settled_kind(census, kind) == "multi"
    separator = next((s for s in SEPARATORS if s in census.separators), "")
    names = census.split[separator] if is_multi else census.names
    _refuse_many(names, choice)
    if pa.types.is_floating(kind):
        names = names.renamed(lambda name: text_of(float(name)))
    label = Label(
        choice.array,
        column,
        "multi" if is_multi else "class",
        "uint8" if is_multi else "int32",
        _sorted_names(names, kind) if given is None else given.names,
        separator,
        "refuse" if given is None else unknown,
        given is not None and given.coded and _holds_numbers(kind),
        empties=census.empties,
    )
    remarks = [] if given is None else _odd_names(names, label, choice)
    counts = tuple(names.rows.get(value, (0, 0))[0] for value in label.values)
    return replace(label, counts=counts), remarks


def _holds_numbers(kind: pa.DataType) -> bool:
    item = kind.value_type if is_list(kind) else kind
    return bool(pa.types.is_integer(item) or pa.types.is_floating(item))


def _refuse_many(names: Names, choice: LabelChoice) -> None:
    if names.overflowed:
        advice = "" if choice.kind else f", or say {choice.column}:class if it is"
        raise ManifestError(
            f"label column {choice.column!r} has over {names.limit:,} different names; is it the "
            f"label? name another with labels= (--label){advice}"
        )


def _sorted_names(names: Names, kind: pa.DataType) -> tuple[str, ...]:
    """Sort numbers as numbers, names by code points."""
    item = str(kind.value_type if is_list(kind) else kind)
    order: dict[str, Callable[[str], Any]] = {"int64": int, "double": float}
    return tuple(sorted(names.rows, key=order.get(item, str)))


def _odd_names(names: Names, label: Label, choice: LabelChoice) -> list[str]:
    known = set(label.values)
    odd = {name: rows for name, rows in names.rows.items() if name not in known}
    if not odd:
        return []
    classes = f"the {len(known)} classes given"
    if label.unknown == "refuse":
        name = min(odd, key=lambda name: odd[name][1])
        hint = f", coded 0 to {len(known) - 1}" if label.coded else did_you_mean(name, known)
        raise ManifestError(
            f"label column {choice.column!r}: {name!r} in row {odd[name][1]} is none of "
            f"{classes}{hint}"
        )
    rows = sum(count for count, _ in odd.values())
    return [
        f"label column {choice.column!r}: {rows:,} rows with {len(odd):,} names outside the "
        f"classes given count as without a label"
    ]
