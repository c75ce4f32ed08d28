"""One streaming pass over a table: everything that must be known before a row is encoded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from daskimg.errors import ManifestError
from daskimg.manifest._cells import Column, Tally, texts
from daskimg.manifest._census import Census, name_label, number_label, settled_kind
from daskimg.manifest._choices import Choice, stored_names
from daskimg.manifest._facts import (
    Facts,
    Kept,
    column_texts,
    frame_of,
    holds_secrets,
    kept_types,
    rows_table,
    with_sealed,
)
from daskimg.manifest._keys import (
    HashSpool,
    RowsDigest,
    TextDigest,
    first_missing,
    first_repetition,
    hashed,
    numbered_key,
    sampled,
)
from daskimg.manifest._pieces import Part, Piece, Source, numbered
from daskimg.manifest._sealed import new_key
from daskimg.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from daskimg.manifest._classes import Classes
    from daskimg.manifest._labels import Label, Unknown

_SAMPLE_ROWS = 100
_LOOK_AT = 1_000  # suspicious keys looked at together; nearly always the first is repeated


class Scan:
    """A pass over ``source``; ``add`` takes pieces in order, ``facts`` sums up."""

    def __init__(
        self, source: Source, choice: Choice, limit: int | None, splitting: str | None = None
    ) -> None:
        self._source = source
        self._choice = choice
        self._limit = limit
        self._rows = 0
        self._columns = _Columns(source, choice, splitting)
        self._digest = RowsDigest()
        self._spool = HashSpool()
        self._sample = _Sample()
        self._secret = False

    def run(self, prefix_rows: int | None, on_rows: Callable[[int], None]) -> str | None:
        """Read the whole table; return the digest of its first ``prefix_rows`` rows."""
        prefix = None
        for row, piece in numbered(self._source, self._limit):
            rest = (prefix_rows or 0) - row
            if 0 < rest <= piece.rows:
                self._add(row, piece.cut(0, rest))
                prefix = self._digest.hexdigest()
                piece, row = piece.cut(rest, piece.rows), row + rest
            if piece.rows:
                self._add(row, piece)
            on_rows(self._rows)
        return prefix

    def facts(self, prefix: str | None, classes: Classes, unknown: Unknown) -> Facts:
        """Settle types, labels and keys for the whole table."""
        kept, mentions = self._columns.kept()
        labels, remarks = self._columns.labels(kept, classes, unknown)
        repeated = self._spool.repeated()
        self._refuse_repeated_keys(repeated)
        if len(repeated) and not self._choice.key:
            mentions.append(
                f"{counted(len(repeated), 'path comes', 'paths come')} more than once; the key of "
                f"a repetition is the path, a tab and a number"
            )
        key = new_key() if self._secret else b""
        sample = self._sampled(kept, repeated, key)
        frame = frame_of(sample, kept)
        return Facts(
            rows=self._rows,
            digest=self._digest.hexdigest(),
            prefix_digest=prefix,
            values_digest=self._columns.digest(kept),
            digests=self._columns.digests(kept),
            labels=labels,
            columns=kept_types(kept),
            sample=frame,
            schema=pa.Table.from_pandas(frame, sample.schema, preserve_index=False).schema,
            mentions=(*mentions, *remarks),
            kept=kept,
            repeated=repeated[:0] if self._choice.key else repeated,
            key=key,
        )

    def close(self) -> None:
        """Give temporary files back."""
        self._spool.close()

    def _add(self, row: int, piece: Piece) -> None:
        self._columns.add(row, piece)
        self._secret = self._secret or holds_secrets(piece)
        paths = column_texts(piece, self._choice.path)
        keys = None
        if self._choice.key is not None:
            keys = column_texts(piece, self._choice.key)
            empty = first_missing(keys)
            if empty is not None:
                raise ManifestError(f"row {row + empty} has no key in column {self._choice.key!r}")
        self._digest.add_piece(piece, paths, keys)
        hashes = hashed((paths if keys is None else keys).to_numpy(zero_copy_only=False))
        self._spool.add(hashes)
        self._sample.add(row, piece, hashes)
        self._rows = row + piece.rows

    def _refuse_repeated_keys(self, repeated: NDArray[np.uint64]) -> None:
        """Look again, at the keys whose hash came twice: few, or one of the first is repeated."""
        key = self._choice.key
        for start in range(0, len(repeated) if key else 0, _LOOK_AT):
            pieces = (
                (row, column_texts(piece, str(key)))
                for row, piece in numbered(self._source, self._limit)
            )
            found = first_repetition(pieces, repeated[start : start + _LOOK_AT])
            if found:
                raise ManifestError(
                    f"rows {found[1]} and {found[2]} have the same key {found[0]!r} "
                    f"in column {key!r}; a key names one row"
                )

    def _sampled(
        self, kept: tuple[Kept, ...], repeated: NDArray[np.uint64], seal: bytes
    ) -> pa.Table:
        rows, hashes, pieces = self._sample.chosen()
        counts = np.ones(len(rows), np.int64)
        again = np.isin(hashes, repeated)
        if not self._choice.key and again.any():
            counts[again] = self._spool.occurrence(rows[again])
        tables = [self._columns.empty(kept)]
        for row, piece, count in zip(rows, pieces, counts, strict=True):
            paths = column_texts(piece, self._choice.path)
            key = self._choice.key
            keys = column_texts(piece, key) if key else paths
            keys = pa.array([numbered_key(keys[0].as_py(), int(count))], pa.string())
            table = rows_table(piece, int(row), keys, paths, kept)
            tables.append(with_sealed(table, piece, self._choice.path, kept, seal))
        return pa.concat_tables(tables if len(tables) == 1 else tables[1:])


class _Columns:
    """Tallies, digests and label censuses of all columns."""

    def __init__(self, source: Source, choice: Choice, splitting: str | None) -> None:
        self._source = source
        self._choice = choice
        self._splitting = splitting
        self._tallies: dict[str, Tally] = {}
        self._digests: dict[str, TextDigest] = {}
        self._censuses = [Census(label) for label in choice.labels]
        for name in source.columns:
            if name not in source.binary:
                self._begin(name, 0)

    def _begin(self, name: str, row: int) -> None:
        cells = self._source.cells and name != self._choice.path
        self._tallies[name] = Tally(cells, missing=row > 0)
        self._digests[name] = TextDigest()
        self._digests[name].add_missing(row)

    def add(self, row: int, piece: Piece) -> None:
        """Take note of a piece; a column may be new in it, or absent."""
        for name, column in piece.columns.items():
            if name not in self._tallies:
                self._begin(name, row)
            self._tallies[name].add(column)
        self._refuse_odd_paths()
        for name, tally in self._tallies.items():
            self._digests[name].add(self._texts(piece, name, tally))
        for census in self._censuses:
            name = census.choice.column
            tally = self._tallies[name]
            column = piece.columns.get(name, pa.nulls(piece.rows, pa.string()))
            census.add(column, row, numeric=tally.cells and "text" not in tally.kinds)

    def _texts(self, piece: Piece, name: str, tally: Tally) -> pa.Array:
        column = piece.columns.get(name)
        if column is None:
            tally.missing = True
        if column is None or "bytes" in tally.kinds:
            return pa.nulls(piece.rows, pa.string())
        return digestible(column)

    def _refuse_odd_paths(self) -> None:
        name = self._choice.path
        kinds = self._tallies[name].kinds if name in self._tallies else set()
        if "bytes" in kinds:
            self._source.from_bytes(name)  # which refuses, with advice
        if kinds & {"list", "json", "bytes"}:
            raise ManifestError(f"the path column {name!r} of {self._source.name} holds no text")

    def kept(self) -> tuple[tuple[Kept, ...], list[str]]:
        """Return the columns of the rows table, and remarks on the others."""
        mentions = [
            f"column {name!r} holds bytes; the rows table is without it"
            for name in self._source.binary
            if name != self._choice.path
        ]
        names = stored_names([*self._tallies], self._choice.path)
        kept = []
        for name, tally in self._tallies.items():
            kind = tally.settled()
            if kind is None:
                mentions.append(f"column {name!r} holds bytes; the rows table is without it")
            elif not self._is_ours(name):
                kept.append(Kept(name, names[name], kind, tally.cells, tally.missing))
        if "split" in self._tallies and self._splitting != "split":
            mentions.append(
                "the table has a `split` column; it is kept in the rows table but does not split "
                "the store"
            )
        return tuple(kept), mentions

    def _is_ours(self, name: str) -> bool:
        """Tell whether a column is already there, as ``path`` or as picture bytes."""
        return name == self._source.bytes_column or name == self._choice.path == "path"

    def empty(self, kept: tuple[Kept, ...]) -> pa.Table:
        """Return the rows table of a table without rows."""
        part = Part("", 0, 0) if self._source.bytes_column else None
        none = pa.array([], pa.string())
        return rows_table(Piece(0, {}, part), 0, none, none, kept)

    def labels(
        self, kept: tuple[Kept, ...], classes: Classes, unknown: Unknown
    ) -> tuple[tuple[Label, ...], list[str]]:
        """Return all labels; classes go to the array they name, or to the first with names."""
        stored = {column.column: column.stored for column in kept} | {"path": "path"}
        labels, remarks, left = [], [], dict(classes)
        for census in self._censuses:
            column = census.choice.column
            kind = self._tallies[column].settled()
            chosen = settled_kind(census, kind)
            array = census.choice.array
            if array in left and left[array].coded and census.choice.kind is None:
                chosen = "multi" if chosen == "multi" else "class"
            if chosen in ("class", "multi"):
                given = left.pop(array, None) or left.pop("", None)
                label, more = name_label(census, stored[column], kind, given, unknown)
            else:
                label, more = number_label(census, stored[column], chosen)
            labels.append(label)
            remarks += more
        if classes and left == classes:
            raise ManifestError(_idle_classes(tuple(labels)))
        return tuple(labels), remarks

    def digest(self, kept: tuple[Kept, ...]) -> str:
        """Return sha256 of the columns kept, names and values, but of those of a listing."""
        total = hashlib.sha256()
        for column in kept:
            if column.column in self._source.observed:
                continue
            total.update(f"{len(column.stored.encode())}:{column.stored}".encode())
            total.update(self._digests[column.column].digest())
        return total.hexdigest()

    def digests(self, kept: tuple[Kept, ...]) -> dict[str, str]:
        """Return sha256 of the values of each column kept."""
        parts = {column.column: self._digests[column.column].digest() for column in kept}
        return {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}


def _idle_classes(labels: tuple[Label, ...]) -> str:
    if not labels:
        return "classes were given, but there is no label column: name it with labels= (--label)"
    column = labels[0].column
    return (
        f"classes were given, but label column {column!r} is {labels[0].kind}, not of names; "
        f"say {column}:class if its numbers are names"
    )


def digestible(column: Column) -> pa.Array:
    """Return a column as text for a digest: quick, and the same however it is cut."""
    if isinstance(column, np.ndarray) or pa.types.is_nested(column.type):
        return texts(column)
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return texts(column)


class _Sample:
    """The first row, and those with the least pseudo-random numbers: no order, no luck."""

    def __init__(self) -> None:
        self._chosen: list[tuple[int, int, int, Piece]] = []  # rank, row, hash of key, the row

    def add(self, row: int, piece: Piece, hashes: NDArray[np.uint64]) -> None:
        """Offer a piece's rows."""
        ranks = sampled(row, piece.rows)
        if row == 0:
            ranks[0] = 0
        for place in self._better(ranks):
            found = piece.row(int(place))
            self._chosen.append((int(ranks[place]), row + int(place), int(hashes[place]), found))
        self._chosen.sort(key=lambda chosen: chosen[:2])
        del self._chosen[_SAMPLE_ROWS:]

    def _better(self, ranks: NDArray[np.uint64]) -> Iterator[np.intp]:
        best = np.argsort(ranks, kind="stable")[:_SAMPLE_ROWS]
        full = len(self._chosen) == _SAMPLE_ROWS
        worst = self._chosen[-1][0] if full else 2**64
        return (place for place in best if int(ranks[place]) < worst)

    def chosen(self) -> tuple[NDArray[np.int64], NDArray[np.uint64], list[Piece]]:
        """Return the rows' numbers, hashes and values, in table order."""
        found = sorted(self._chosen, key=lambda chosen: chosen[1])
        rows = np.array([row for _, row, _, _ in found], np.int64)
        hashes = np.array([each for _, _, each, _ in found], np.uint64)
        return rows, hashes, [piece for _, _, _, piece in found]
