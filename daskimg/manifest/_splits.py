"""Which split a row belongs to: by its number, by a hash of one cell, or by a column's word."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskimg.errors import ManifestError, OptionError
from daskimg.options import one_of, whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SplitKind = Literal["every", "hash", "column"]

MOST_SPLITS = 256
"""Names that a split's number, a byte, can stand for."""

_USUAL = ("train", "val", "test")
_WORKS = "say every:K, hash:COLUMN:0.8,0.1,0.1 or column:NAME"
_RESERVED = frozenset(("", ".", "..", "zarr.json", "daskimg"))
_ROUNDING = 1e-6  # of the fractions' sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A rule that gives each row of a table one of a few names.

    Attributes
    ----------
    kind
        ``every``: each K-th row, beginning with row 0, is ``test``, the others ``train``.
        ``hash``: equal cells of ``column`` are in one split, wherever they stand.
        ``column``: the cell is the name.
    every
        K of ``every``.
    column
        The column that ``hash`` and ``column`` look at.
    fractions
        Two or three shares of ``hash``: ``train``, ``val``, ``test``.
    names
        The splits, by number. Those of ``column`` are not known before ``with_names``.
    """

    kind: SplitKind
    every: int = 0
    column: str | None = None
    fractions: tuple[float, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a rule that splits nothing, and names that no group of the store can have."""
        one_of("the kind of a split", self.kind, get_args(SplitKind))
        if self.kind == "every":
            whole("K of the split every:K", self.every, "try every:10")
            if self.every < 2:
                raise OptionError("K of the split every:K must be at least 2, got 1; try every:10")
        elif not self.column:
            raise OptionError(f"the split {self.kind} needs a column; {_WORKS}")
        if self.kind == "hash":
            _check_fractions(self.fractions)
        object.__setattr__(self, "names", self.names or self._own_names())
        _check_names(self.names)

    def _own_names(self) -> tuple[str, ...]:
        if self.kind == "every":
            return ("train", "test")
        return _USUAL[: len(self.fractions)]

    def __str__(self) -> str:
        """Return the rule as ``parse_split`` takes it."""
        if self.kind == "every":
            return f"every:{self.every}"
        fractions = ",".join(map(repr, self.fractions))
        return f"{self.kind}:{self.column}" + (f":{fractions}" if fractions else "")

    def with_names(self, names: Iterable[str]) -> Split:
        """Return the split of kind ``column`` with the names that the column holds.

        The order is ``train``, ``val``, ``test``, then the others sorted: the same in whatever
        order they came.

        Raises
        ------
        OptionError
            If a name cannot be a group's, or there are more than a byte can count.
        """
        found = set(names)
        usual = [name for name in _USUAL if name in found]
        return replace(self, names=(*usual, *sorted(found.difference(usual))))

    def assign(
        self, first_row: int, rows: int, texts: pa.Array | None = None
    ) -> NDArray[np.uint8]:
        """Return (row,) each row's place in ``names``.

        Parameters
        ----------
        first_row, rows
            Number of the first row in the whole table, and how many there are.
        texts : (row,)
            The cells of ``column`` as text, "" where there is none; not needed by ``every``.
            Under ``hash`` an empty cell is a key like any other: all such rows go together.

        Raises
        ------
        ManifestError
            If, under ``column``, a row names no split or one that is not in ``names``.
        """
        if self.kind == "every":
            number = np.arange(first_row, first_row + rows, dtype=np.int64)
            return np.asarray(number % self.every == 0, np.uint8)
        assert texts is not None
        encoded = texts.fill_null("").dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        if self.kind == "hash":
            places = [self._hashed(text) for text in distinct]
        else:
            self._refuse_unnamed(first_row, texts, distinct)
            places = [self.names.index(text) for text in distinct]
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        return np.asarray(np.array(places, np.uint8)[codes])

    def _hashed(self, text: str) -> int:
        """Place a cell by 53 bits of its sha256, a float64 exactly: for ever the same."""
        digest = hashlib.sha256(text.encode()).digest()
        share = (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)
        bounds = (math.fsum(self.fractions[: i + 1]) for i in range(len(self.fractions) - 1))
        return sum(share >= bound for bound in bounds)

    def _refuse_unnamed(self, first_row: int, texts: pa.Array, distinct: list[str]) -> None:
        for text in distinct:
            if text not in self.names:
                row = first_row + cast("int", pc.index(texts.fill_null(""), text).as_py())
                wrong = f"is of a new split {text!r}" if text else "names no split"
                raise ManifestError(f"row {row} {wrong} in column {self.column!r}")


def parse_split(text: str) -> Split:
    """Return the split that ``--split`` names.

    >>> parse_split("every:10").names, parse_split("hash:patient:0.8,0.1,0.1").names
    (('train', 'test'), ('train', 'val', 'test'))

    Raises
    ------
    OptionError
        If it is none.
    """
    kind, _, rest = text.partition(":")
    if kind == "every":
        return Split(kind="every", every=_whole(rest))
    if kind == "hash":
        column, _, fractions = rest.rpartition(":")
        return Split(kind="hash", column=column, fractions=_fractions(fractions))
    if kind == "column":
        return Split(kind="column", column=rest)
    raise OptionError(f"{text!r} is no split; {_WORKS}")


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise OptionError(f"K of the split every:K must be a whole number, got {text!r}")
    return int(text)


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"{text!r} are no fractions of a split; try 0.8,0.1,0.1") from None


def _check_fractions(fractions: tuple[float, ...]) -> None:
    given = ",".join(f"{fraction:g}" for fraction in fractions)
    if len(fractions) not in (2, 3):
        raise OptionError(
            f"a split by hash has two or three fractions, for train, val and test; got "
            f"{given or 'none'}; try 0.8,0.1,0.1"
        )
    if not all(0 < fraction < 1 for fraction in fractions):
        raise OptionError(f"the fractions of a split lie between 0 and 1, got {given}")
    if abs(math.fsum(fractions) - 1) > _ROUNDING:
        raise OptionError(
            f"the fractions of a split must sum to 1, got {given}, which sum to "
            f"{math.fsum(fractions):g}; try 0.8,0.1,0.1"
        )


def _check_names(names: tuple[str, ...]) -> None:
    if len(names) > MOST_SPLITS:
        raise OptionError(
            f"a table has at most {MOST_SPLITS} splits, got {len(names):,}: {names[0]!r}, "
            f"{names[1]!r} ...; is it the column of splits?"
        )
    for name in names:
        if name in _RESERVED or "/" in name or name.startswith("__"):
            raise OptionError(
                f"{name!r} cannot be the name of a split: it becomes a group of the store (no "
                f"'/', no leading '__', not empty, not 'daskimg'); rename it in the table"
            )
